"""Settings of the generator, and the sizes that have names."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from metakg.errors import ConfigError, complaint

_FEW_ITEMS = 20


class PlantedConfig(BaseModel):
    """What data to plant. Every number that is given comes out exactly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: int = Field(ge=2, lt=1 << 31)
    """Number of users; each has at least one interaction."""
    items: int = Field(ge=4, lt=1 << 31)
    """Number of items; each has at least one interaction and one fact that a user may have a taste for."""
    interactions: PositiveInt
    """Number of distinct (user, item) pairs."""
    triples: PositiveInt | None = None
    """Number of distinct facts about items and entities (facts about users come on top); by default what is usual."""
    entities: PositiveInt | None = None
    """Number of entities that are not items; by default what is usual. `user_facts` adds a few."""
    relations: PositiveInt | None = None
    """Number of relations; by default what is usual. `user_facts` adds two."""
    domain: Literal["books", "music", "places"] = "books"
    """The story: a bookshop, a record collection, a city guide."""
    noise: float = Field(default=0.15, ge=0.0, le=1.0)
    """Share of clicks that no taste explains, drawn by popularity; 1 leaves no signal at all. Where users click so much that
    their tastes wear out, or items are so many that nobody likes some, there is a little more of it."""
    user_facts: bool = True
    """Whether every user has an age band and a home town, both weakly tied to the tastes."""
    first_day: datetime.date = datetime.date(2021, 1, 1)
    """First day with clicks (UTC)."""
    days: int = Field(default=1461, ge=30, le=36_525)
    """Number of days with clicks."""

    @model_validator(mode="after")
    def _counts_agree(self) -> PlantedConfig:
        least, most = max(self.users, self.items), self.users * self.items
        if not least <= self.interactions <= most:
            raise ConfigError(
                "interactions",
                f"{self.interactions:,}",
                expected=f"{least:,} to {most:,}, so that each of {self.users:,} users and {self.items:,} items has one",
                fix="Change the number of interactions, users or items.",
            )
        return self

    @staticmethod
    def parse(settings: Mapping[str, object]) -> PlantedConfig:
        """Return the settings from keyword arguments or flags.

        Raises:
            ConfigError: a setting is unknown, missing, of the wrong type, or contradicts another.
        """
        try:
            return PlantedConfig.model_validate(dict(settings))
        except ValidationError as err:
            first = err.errors()[0]
            name = ".".join(str(step) for step in first["loc"]) or "settings"
            found, expected = complaint(first, repr(settings[name]) if name in settings else "nothing")
            raise ConfigError(
                f"generator setting {name}",
                found,
                expected=expected,
                fix=f"The settings are {', '.join(PlantedConfig.model_fields)}.",
            ) from err

    @staticmethod
    def scaled(interactions: int, **settings: object) -> PlantedConfig:
        """Return settings for any number of interactions from 8 on: 60 a user, 150 an item, 10 facts an item.

        Below 27,000 users and items fall as the square root, so that a user has clicked a third of all items at most; a few
        items have 5 facts each, since there is not more to tell of them.
        """
        users = max(interactions // 60, math.ceil((7.5 * max(interactions, 0)) ** 0.5), 2)
        items = max(interactions // 150, math.ceil((1.2 * max(interactions, 0)) ** 0.5), 4)
        sizes = {"users": users, "items": items, "interactions": interactions} | settings
        n_items = sizes["items"]
        told = {"triples": 10 * n_items if n_items >= _FEW_ITEMS else 5 * n_items + 2} if isinstance(n_items, int) else {}
        return PlantedConfig.parse(told | sizes)


PRESETS: dict[str, PlantedConfig] = {
    "demo": PlantedConfig(users=400, items=600, interactions=14_000),
    "last-fm": PlantedConfig(
        domain="music",
        users=23_566,
        items=48_123,
        interactions=3_034_763,
        triples=464_567,
        entities=58_266,
        relations=9,
        user_facts=False,
    ),
    "amazon-book": PlantedConfig(
        domain="books",
        users=70_679,
        items=24_915,
        interactions=847_733,
        triples=2_557_746,
        entities=88_572,
        relations=39,
        user_facts=False,
    ),
    "yelp2018": PlantedConfig(
        domain="places",
        users=45_919,
        items=45_538,
        interactions=1_185_068,
        triples=1_853_704,
        entities=90_961,
        relations=42,
        user_facts=False,
    ),
}
"""Sizes with names. All but `demo` are those of the MetaKG paper, Table 2, with the numbers of the KGAT release."""
SCALE = "scale"
"""Not a size but a rule: `PlantedConfig.scaled`."""


def preset(name: str) -> PlantedConfig:
    """Return the settings of a preset.

    Raises:
        ConfigError: there is none of this name.
    """
    return choose(name)


def choose(name: str | None = None, **settings: object) -> PlantedConfig:
    """Return the settings of a preset with some of them changed, or settings of their own.

    Args:
        name: a preset; "scale" for users, items and facts in proportion to the interactions; None for "demo" if no size is
            set, for "scale" if only the interactions are.
        settings: of `PlantedConfig`.

    Raises:
        ConfigError: there is no such preset, or a setting is unknown, missing, or contradicts another.
    """
    if name is None and not settings.keys() & {"users", "items", "interactions"}:
        name = "demo"
    if name is None and "interactions" in settings and not settings.keys() & {"users", "items"}:
        name = SCALE
    if name == SCALE:
        interactions = settings.pop("interactions", None)
        if not isinstance(interactions, int):
            raise ConfigError(
                "preset scale",
                "no interactions",
                expected="their number",
                fix="For example: --preset scale --interactions 1000000.",
            )
        return PlantedConfig.scaled(interactions, **settings)
    if name is None:
        return PlantedConfig.parse(settings)
    if name not in PRESETS:
        raise ConfigError("preset", repr(name), expected=f"one of {', '.join(PRESETS)}, {SCALE}", fix="Check the spelling.")
    return PlantedConfig.parse(PRESETS[name].model_dump(exclude_unset=True) | settings)
