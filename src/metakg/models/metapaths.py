"""AutoMetaPath: meta-paths found from typed relations and training clicks alone, without a schema made by hand.

A meta-path says how one item leads to another: over a user who clicked both, over one entity ("by the same artist"), or over
two ("by an artist whom this artist influenced"). Published meta-path models name theirs by hand for each data set; here

1. every typed relation that items have, in either direction, is a one-hop candidate, and every chain item, e, e', item of
   three typed relations a two-hop candidate. Entities linked to too many items (`hub_items`, `hub_share`) are no steps: a
   path over "is a recording" joins everything;
2. a candidate must lead from enough items to another one (`min_coverage`);
3. what is left is ranked by lift * sqrt(coverage). The lift says how many more users clicked both of two items that the
   path joins than would if clicks were independent: sum of c_ij / sum of n_i n_j / U over draws of the path's instances,
   with n_i the users of item i, c_ij those of both, and U all users with a click;
4. a candidate whose pairs are nearly those of a better one (Jaccard above `max_overlap`) is skipped.

(How many pairs *some* user clicked both of would not do: in dense data that is nearly every pair.) The draws come from a
generator of their own (`seed`), so that `metakg metapaths --model` prints exactly what that model takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from metakg.data import Vocabulary
from metakg.errors import CheckpointError, DataError

if TYPE_CHECKING:
    from torch import Tensor

_MANY = 100
"""More paths than any search would keep."""


class MetaPathConfig(BaseModel):
    """Which meta-paths are taken."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    one_hop: NonNegativeInt = 2
    """Paths over one shared entity that are kept."""
    two_hop: NonNegativeInt = 1
    """Paths over two entities that are kept; where too few are found, one-hop paths take their place."""
    min_coverage: float = Field(0.1, ge=0.0, le=1.0)
    """Least share of the items from which a path leads to another item."""
    hub_items: PositiveInt = 200
    """An entity that one relation links to more items than this, and than `hub_share` of all items, is no step of a path."""
    hub_share: float = Field(0.01, ge=0.0, le=1.0)
    """See `hub_items`."""
    max_overlap: float = Field(0.8, gt=0.0, le=1.0)
    """A path whose item pairs overlap more than this (Jaccard) with those of a better one is skipped."""
    samples: PositiveInt = 20_000
    """Path instances drawn to measure a lift."""
    two_hop_tried: PositiveInt = 30
    """Two-hop candidates that are measured, by what their coverage can be at most."""
    seed: NonNegativeInt = 0
    """Of those draws. It stands apart from the model's seed, so that all seeds of a model have the same paths."""


class Link(NamedTuple):
    """A typed relation in one direction, read from the item's side.

    Attributes:
        relation: relation row.
        inverse: the item (or the first entity) is the tail of the facts.
    """

    relation: int
    inverse: bool

    def text(self, v: Vocabulary, *, back: bool = False) -> str:
        """Return an arrow with the relation's name; `back` reads it towards the item."""
        name = v.relations.label(self.relation)
        return f"<-{name}-" if self.inverse != back else f"-{name}->"


@dataclass(frozen=True)
class MetaPath:
    """How an item leads to another: `links` is empty (over users), (r) or (r1, r2, r3), where r3 is read from the last item."""

    links: tuple[Link, ...] = ()

    @property
    def length(self) -> int:
        """Number of nodes of an instance that begins at a user: user, item, ..., item."""
        return 4 if len(self.links) < 3 else 5

    def text(self, v: Vocabulary) -> str:
        """Return the path for people: `item -written by-> * <-written by- item`."""
        if not self.links:
            return "item <-clicked- user -clicked-> item"
        first, *middle, last = self.links if len(self.links) == 3 else (self.links[0], self.links[0])
        inner = "".join(f" {link.text(v)} *" for link in middle)
        return f"item {first.text(v)} *{inner} {last.text(v, back=True)} item"

    def codes(self) -> list[int]:
        """Return the path as three numbers, for a tensor; -1 where there is no link."""
        numbers = [2 * link.relation + int(link.inverse) for link in self.links]
        return numbers + [-1] * (3 - len(numbers))

    @staticmethod
    def of_codes(codes: list[int]) -> MetaPath:
        """Return the path of three numbers."""
        return MetaPath(tuple(Link(code // 2, code % 2 == 1) for code in codes if code >= 0))


def kept_paths(
    kind: str, name: str, tensors: Mapping[str, Tensor], n_relations: int, *, least: int = 0
) -> tuple[MetaPath, ...]:
    """Return the meta-paths that the tensor `name` of a bundle holds, `least` or more.

    Raises:
        CheckpointError: they are not paths over these relations.
    """
    codes = tensors.get(name)
    if codes is not None and codes.ndim == 2 and codes.shape[1] == 3 and not codes.is_floating_point():
        rows = [[int(code) for code in row] for row in codes[:_MANY].tolist()]
        links = [[code for code in row if code != -1] for row in rows]
        inside = all(0 <= code < 2 * n_relations for row in links for code in row)
        if inside and least <= len(rows) and all(len(row) in (0, 1, 3) for row in links):
            return tuple(MetaPath.of_codes(row) for row in rows)
    raise CheckpointError(
        f"tensors of {kind}",
        f"no meta-paths of this vocabulary in {name!r}",
        expected="rows of three relation codes",
        fix="Save the bundle again.",
    )


USERS = MetaPath()
"""Over a user who clicked both."""

CHOSEN, LOWER, SAME = "chosen", "others rank higher", "nearly the pairs of"
"""Fates of candidates; `SAME` is followed by the better path."""


@dataclass(frozen=True)
class Candidate:
    """What was found about a path.

    Attributes:
        path: the path.
        coverage: share of the items from which it leads to another item.
        lift: see the module; None where it was not measured.
        pairs: different item pairs that the lift was measured on.
        fate: `CHOSEN`, or why not.
    """

    path: MetaPath
    coverage: float
    lift: float | None = None
    pairs: int = 0
    fate: str = ""

    @property
    def score(self) -> float:
        """Lift times the square root of the coverage, what candidates are ranked by."""
        return (self.lift or 0.0) * math.sqrt(self.coverage)


@dataclass(frozen=True)
class Found:
    """All candidates of a data set, and which were chosen.

    Attributes:
        candidates: the path over users, then one-hop and two-hop paths, best first.
        config: what they were chosen by.
    """

    candidates: tuple[Candidate, ...]
    config: MetaPathConfig

    @property
    def chosen(self) -> tuple[MetaPath, ...]:
        """The paths to use, the one over users first."""
        return tuple(c.path for c in self.candidates if c.fate == CHOSEN)

    def need_facts(self, v: Vocabulary, kind: str) -> None:
        """Check that a path over facts was found where one was wanted.

        Raises:
            DataError: all were dropped; the message says why, and which setting would keep one.
        """
        if len(self.chosen) > 1 or not self.config.one_hop + self.config.two_hop:
            return
        reasons = [f"{c.path.text(v)} ({c.fate})" for c in self.candidates if c.path.links]
        raise DataError(
            f"the meta-paths of {kind}",
            "; ".join(reasons[:6]) + ("; ..." if len(reasons) > 6 else "") if reasons else "no relation that an item has",
            expected="at least one path over facts",
            fix="Lower paths.min_coverage or raise paths.hub_items, give the items facts, or do without such paths: "
            "paths.one_hop = 0 and paths.two_hop = 0 (metakg metapaths prints what was found).",
        )

    def fields(self, v: Vocabulary, n: int, kind: str) -> tuple[Link, ...]:
        """Return the n best typed relations of items, none nearly the same as a better one.

        Raises:
            DataError: no relation is left.
        """
        usable = [c for c in self.candidates if len(c.path.links) == 1 and c.lift is not None and not c.fate.startswith(SAME)]
        if usable:
            return tuple(c.path.links[0] for c in usable[:n])
        dropped = [f"{c.path.text(v)} ({c.fate})" for c in self.candidates if len(c.path.links) == 1]
        raise DataError(
            f"the item features of {kind}",
            "; ".join(dropped[:6]) if dropped else "no relation that an item has",
            expected="at least one relation that describes items",
            fix="Lower paths.min_coverage, raise paths.hub_items, or describe items by their own vectors: features = 'id'.",
        )
