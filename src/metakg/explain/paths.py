"""Typed paths in words: `Abbey Road -> artist: The Beatles -> Let It Be`."""

from __future__ import annotations

from dataclasses import dataclass

from metakg.data import TrainView
from metakg.models.profile import ProfileRecommender, Reason, Step


@dataclass(frozen=True)
class Path:
    """One way from something the user clicked to the recommended item.

    Attributes:
        start: external id of the user's own item.
        nodes: readable names along the path, the own item first and the recommended item last.
        hops: what joins each two neighbours in `nodes`: a relation's name, `^` before it when walked against its
            direction, or "clicked by".
        share: part of the item's score that came this way, 0..1.
    """

    start: str
    nodes: tuple[str, ...]
    hops: tuple[str, ...]
    share: float

    def __str__(self) -> str:
        if len(self.nodes) == 3:
            first, middle, last = self.nodes
            hop = self.hops[0]
            if hop == "clicked by":
                return f"{first} -> also clicked by {middle} -> {last}"
            if hop == self.hops[1].removeprefix("^") or self.hops[1] == hop.removeprefix("^"):
                return f"{first} -> {hop.removeprefix('^')}: {middle} -> {last}"
        text = self.nodes[0]
        for hop, node in zip(self.hops, self.nodes[1:], strict=True):
            text += f" -> {hop}: {node}"
        return text


@dataclass(frozen=True)
class Explanation:
    """The paths that carry most of one recommendation, heaviest first; empty where there is no personal reason."""

    user: str
    item: str
    label: str
    paths: tuple[Path, ...]

    def __str__(self) -> str:
        if not self.paths:
            return f"{self.label}: no path from this user's own items; it is shown because it is popular"
        return "\n".join([self.label, *(f"  {path.share:5.1%}  {path}" for path in self.paths)])


def explain(recommender: ProfileRecommender, user: int, item: int, limit: int = 3) -> Explanation:
    """Explain why an item scores for a user, both given as rows of the recommender's view."""
    v = recommender.view.vocabulary
    paths = tuple(_in_words(recommender.view, reason) for reason in recommender.reasons(user, item, limit))
    return Explanation(v.users.id(user), v.items.id(item), v.items.label(item), paths)


def _in_words(view: TrainView, reason: Reason) -> Path:
    v = view.vocabulary
    nodes = [v.items.label(reason.start)]
    hops = []
    for step in reason.steps:
        nodes.append(_node(view, step))
        if step.relation is None:
            hops.append("clicked by")
        else:
            hops.append(("^" if step.inverse else "") + v.relations.label(step.relation))
    return Path(v.items.id(reason.start), tuple(nodes), tuple(hops), reason.share)


def _node(view: TrainView, step: Step) -> str:
    if step.entity is None:
        return "1 other person" if step.users == 1 else f"{step.users} other people"
    return view.vocabulary.entity_label(step.entity)
