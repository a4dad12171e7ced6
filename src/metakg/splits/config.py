"""Settings of a split: one frozen class for each way to cut; an unknown or misspelt option is an error."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from metakg.errors import ConfigError, complaint

Share: TypeAlias = Annotated[float, Field(gt=0, lt=1)]


class SplitConfig(BaseModel):
    """What every split has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: NonNegativeInt = 1
    """Everything that is drawn by lot is drawn from generators that derive from it."""
    validation: bool = True
    """Whether to cut a validation split from the training part; every choice is to be made there."""


class ItemRule(BaseModel):
    """Who enters a scenario of the paper's protocol, and how much of it becomes the query (MeLU's rule)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_items: PositiveInt = 13
    """A user enters a scenario only with at least so many items there..."""
    max_items: PositiveInt = 100
    """... and at most so many."""
    n_query: PositiveInt = 10
    """So many of them, drawn by lot, become the query; the rest is the support."""
    query_share: Share | None = None
    """If set: this share of a user's items becomes the query, at least 1 and at most `n_query`."""

    @model_validator(mode="after")
    def _leaves_support(self) -> Self:
        if self.max_items < self.min_items:
            raise ValueError(f"max_items {self.max_items} is less than min_items {self.min_items}")
        if self.query_share is None and self.min_items <= self.n_query:
            raise ValueError(f"min_items {self.min_items} leaves no support beside {self.n_query} query items")
        if self.query_share is not None and self.min_items < 2:
            raise ValueError("min_items must be 2 or more, so that one item is left for the support")
        return self


class RelaxedRule(ItemRule):
    """The rule scaled down, for validation scenarios that few users could enter (see `PaperRules.relax_below`)."""

    min_items: PositiveInt = 6
    query_share: Share | None = 0.25


class PaperRules(SplitConfig):
    """What a split of the paper's protocol has, whether it is imported or cut."""

    protocol: Literal["paper"] = "paper"
    rule: ItemRule = ItemRule()
    """Who enters a scenario; the published files were cut with the default."""
    background_old_pairs: bool = True
    """Whether old users' old pairs that failed the rule are training pairs without a task, instead of being lost."""
    relax_below: Share = 1 / 3
    """A validation scenario that fewer than this share of its users could enter is cut by `relaxed` instead. (In the
    published Last-FM scenarios at least 36 % of the users pass.)"""
    relaxed: RelaxedRule = RelaxedRule()
    """The rule scaled down."""


class PaperConfig(PaperRules):
    """Protocol `paper`, cut from data with times."""

    new_users: Share = 0.2
    """Share of the users, the latest by first time, who are new."""
    new_items: Share = 0.2
    """Share of the items, the latest by first time, that are new."""
    warm_users: Share = 0.1
    """Share of the old users, drawn by lot, whose old pairs make the warm scenario and leave the training part."""
    validation_users: Share = 0.1
    """The same for the validation split: share of the old users, the latest, who are new there."""
    validation_items: Share = 0.1
    """Share of the old items, the latest, that are new in the validation split."""


class PublishedConfig(PaperRules):
    """Protocol `paper`, imported from the scenario files of the MetaKG release; they have no times.

    The validation split is therefore drawn by lot. Its users are as many for the training users as the paper's new users
    are for all users, because the clicks of a new item in UIC all come from them.
    """

    published: Path
    """The folder `test_scenario`, or the folder it lies in."""
    validation_users: Share = 0.2
    """Share of the training users, drawn by lot, who are new in the validation split."""
    validation_items: Share = 0.2
    """Share of the training items that are new in the validation split; siblings are drawn together (see `siblings`)."""
    validation_warm_users: Share = 0.1
    """Share of the training users, drawn by lot, whose old pairs make the warm validation scenario."""
    sibling_limit: PositiveInt = 100
    """An entity that more items share does not make them siblings."""


class StrictConfig(SplitConfig):
    """Protocol `strict`, cut by times, or by lot where there are none."""

    protocol: Literal["strict"] = "strict"
    arrival: Literal["time", "lot"] = "time"
    """Whether the latest are new and what is latest is asked for, or both are drawn by lot, for data without times."""
    new_users: Share = 0.2
    """Share of the users, the latest by first time, who do not exist before adaptation."""
    new_items: Share = 0.2
    """Share of the items, the latest by first time, that do not exist before adaptation."""
    warm_users: Share = 0.1
    """Share of the old users with enough pairs, drawn by lot, whose latest old pairs make the warm query."""
    n_query: PositiveInt = 10
    """The query of a user is the latest of the user's pairs, up to so many."""
    min_support: NonNegativeInt = 10
    """A user enters a scenario that reveals the user's own pairs only with so many of them beside the query, so that every
    number of shots up to this one is measured on the same users."""
    max_shots: NonNegativeInt = 10
    """So many first clicks of a new item are set aside for being revealed (at most half of its clicks)."""
    global_time: bool = False
    """Also drop every training pair that is later than the first new user's or item's first pair, take warm queries from
    after that moment, and reveal in UIC only what the user did before the query."""
    validation_users: Share = 0.1
    """The same for the validation split: share of the old users, the latest, who are new there."""
    validation_items: Share = 0.1
    """Share of the old items, the latest, that are new in the validation split."""

    @model_validator(mode="after")
    def _has_a_moment(self) -> Self:
        if self.global_time and self.arrival == "lot":
            raise ValueError('global_time needs times, which arrival = "lot" does without')
        return self


AnySplitConfig: TypeAlias = PaperConfig | PublishedConfig | StrictConfig


def configure(protocol: str, published: Path | str | None, options: Mapping[str, Any]) -> AnySplitConfig:
    """Return the checked settings for a protocol.

    Raises:
        ConfigError: the protocol or an option is unknown, or a value is out of its range.
    """
    kinds: dict[str, type[AnySplitConfig]] = {"paper": PaperConfig, "strict": StrictConfig}
    if protocol not in kinds:
        raise ConfigError("split.protocol", repr(protocol), expected="'paper' or 'strict'", fix="Name one of the two.")
    kind, given = kinds[protocol], dict(options)
    if published is not None:
        if protocol != "paper":
            raise ConfigError(
                "split.published",
                f"protocol {protocol!r}",
                expected="protocol 'paper', since the published scenario files follow it",
                fix="Set protocol='paper', or leave published out.",
            )
        kind, given = PublishedConfig, {**given, "published": published}
    try:
        return kind(**_nested(given))
    except ValidationError as err:
        first = err.errors()[0]
        name = ".".join(("split", *(str(part) for part in first["loc"])))
        known = ", ".join(sorted(_option_names(kind)))
        unknown = first["type"] == "extra_forbidden"
        found, expected = ("an unknown option", f"one of {known}") if unknown else complaint(first)
        raise ConfigError(
            name,
            found,
            expected=expected,
            fix="Correct the name." if unknown else "Correct the value.",
        ) from err


def _nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `{"rule.min_items": 5}` into `{"rule": {"min_items": 5}}`."""
    result: dict[str, Any] = {}
    for name, value in options.items():
        outer, dot, inner = name.partition(".")
        if dot and isinstance(result.setdefault(outer, {}), dict):
            result[outer][inner] = value
        else:
            result[outer] = value
    return result


def _option_names(kind: type[AnySplitConfig]) -> list[str]:
    names = []
    for name, field in kind.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            names += [f"{name}.{inner}" for inner in nested.model_fields]
        elif name != "protocol":
            names.append(name)
    return names
