"""Typed paths in words: `liked Abbey Road -> by The Beatles -> Let It Be`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from metakg.data import TrainView
from metakg.models.reasons import Reason, Step
from metakg.types import Json

Way = Literal["trained", "adapted", "kg-only", "popular"]
"""How an answer was made: from training clicks, from clicks that arrived later, from facts about the user alone, or, for
somebody or something nothing is known of, from popularity."""
_NO_PATH: dict[Way, str] = {
    "trained": "something else speaks for it",
    "adapted": "something else speaks for it",
    "kg-only": "it is shown because of what is known about the user",
    "popular": "it is shown because it is popular",
}


@dataclass(frozen=True)
class Node:
    """A stop of a path.

    Attributes:
        kind: an item, another entity, or a crowd of people who clicked both sides.
        id: external id; None for a crowd.
        label: readable name.
    """

    kind: Literal["item", "entity", "crowd"]
    id: str | None
    label: str


@dataclass(frozen=True)
class Edge:
    """What joins two neighbouring stops.

    Attributes:
        relation: external id of the relation; None where people clicked.
        label: its readable name, or "clicked by".
        inverse: whether the fact is walked from its tail to its head.
    """

    relation: str | None
    label: str
    inverse: bool


@dataclass(frozen=True)
class Path:
    """One way from something the user clicked to the recommended item.

    Attributes:
        nodes: the stops, the own item first and the recommended one last.
        edges: what joins each two neighbours in `nodes`.
        share: part of all that speaks for the item that came this way, 0..1.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    share: float

    @property
    def start(self) -> str:
        """External id of the user's own item."""
        return str(self.nodes[0].id)

    def __str__(self) -> str:
        first, *_, last = self.nodes
        text = f"liked {first.label}"
        if len(self.nodes) == 3:
            middle, (there, back) = self.nodes[1], self.edges
            if middle.kind == "crowd":
                return f"{text} -> also liked by {middle.label} -> {last.label}"
            if there.relation == back.relation and back.inverse and not there.inverse:  # both have the same fact: once says it
                return f"{text} -> {there.label} {middle.label} -> {last.label}"
        for edge, node in zip(self.edges, self.nodes[1:], strict=True):
            text += f" -> {'^' if edge.inverse else ''}{edge.label} {node.label}"
        return text

    def as_json(self) -> Json:
        """Return the path for machines: share, text, and nodes and edges in turn."""
        chain: list[Json] = []
        for place, node in enumerate(self.nodes):
            if place:
                edge = self.edges[place - 1]
                chain.append({"relation": edge.relation, "label": edge.label, "inverse": edge.inverse})
            chain.append({"kind": node.kind, "id": node.id, "label": node.label})
        return {"share": self.share, "text": str(self), "path": chain}


@dataclass(frozen=True)
class Explanation:
    """The paths that carry most of one recommendation, heaviest first; empty where there is no personal reason.

    The last three figures say whether the paths tell the truth: the edges of the shown paths, and nothing else, were taken
    out of the evidence, and everything was scored again.

    Attributes:
        user: external id, or None for somebody without an account.
        item: external id.
        label: readable name of the item.
        paths: the paths.
        score: the item's score for this user.
        rank: its place among what may be shown to him, from 1.
        score_without: the score without the edges of the paths.
        rank_without: the place without them.
        way: how the answer is made for this item; "popular" where nothing of the user speaks for it.
        clicked: whether the user has clicked it himself, which is reason enough; then there are no paths.
        faithfulness: what it loses then, as a part of all that speaks for it: 1 all of it, 0 nothing.
    """

    user: str | None
    item: str
    label: str
    paths: tuple[Path, ...]
    score: float
    rank: int
    score_without: float
    rank_without: int
    way: Way
    clicked: bool
    faithfulness: float

    def __str__(self) -> str:
        if self.clicked:
            return f"{self.label}: this user has clicked it"
        if not self.paths:
            return f"{self.label}: no path of two steps from this user's own items; {_NO_PATH[self.way]}"
        lines = [f"{self.label} (place {self.rank:,})", *(f"  {path.share:5.1%}  {path}" for path in self.paths)]
        if self.faithfulness >= 0:
            lost = f"Without these paths it would lose {self.faithfulness:.0%} of what speaks for it"
            return "\n".join([*lines, f"{lost} and stand at place {self.rank_without:,}."])
        place = f"Without these paths its score would not fall, and it would stand at place {self.rank_without:,}"
        return "\n".join([*lines, f"{place}: it is not ranked by them."])

    def as_json(self) -> Json:
        """Return the explanation for machines."""
        return {
            "user": self.user,
            "item": {"item": self.item, "label": self.label},
            "score": self.score,
            "rank": self.rank,
            "score_without": self.score_without,
            "rank_without": self.rank_without,
            "way": self.way,
            "clicked": self.clicked,
            "faithfulness": self.faithfulness,
            "reasons": [path.as_json() for path in self.paths],
        }


def in_words(view: TrainView, reasons: Iterable[Reason]) -> tuple[Path, ...]:
    """Return reasons, in rows of a view, as paths with readable names."""
    return tuple(_in_words(view, reason) for reason in reasons)


def part_lost(score: float, without: float, bare: float) -> float:
    """Return the part of what speaks for an item that it loses: 1 all of it, 0 nothing, below 0 if it gains.

    Args:
        score: as it is.
        without: without some edges.
        bare: if nothing spoke for it.
    """
    whole = score - min(bare, without)
    if whole > 0:
        return (score - without) / whole
    return 0.0 if score == without else -1.0


def _in_words(view: TrainView, reason: Reason) -> Path:
    v = view.vocabulary
    nodes = [Node("item", v.items.id(reason.start), v.items.label(reason.start))]
    edges = []
    for step in reason.steps:
        nodes.append(_node(view, step))
        if step.relation is None:
            edges.append(Edge(None, "clicked by", False))
        else:
            edges.append(Edge(v.relations.id(step.relation), v.relations.label(step.relation), step.inverse))
    return Path(tuple(nodes), tuple(edges), reason.share)


def _node(view: TrainView, step: Step) -> Node:
    v = view.vocabulary
    if step.entity is None:
        return Node("crowd", None, "1 other person" if step.users == 1 else f"{step.users} other people")
    if step.entity < v.n_items:
        return Node("item", v.items.id(step.entity), v.items.label(step.entity))
    return Node("entity", v.entities.id(step.entity), v.entity_label(step.entity))
