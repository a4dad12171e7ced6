"""`collected`: data as they are after all that a service was told, for the next training.

A service learns clicks at once, but a model's weights stay those of its training. So from time to time it is trained again,
on what it was trained on before and on what its store holds since: this is where the two come together. What an event means
is what it means to a running service, since the same `Fold` applies it; here the result is data again, with times, and rows
of what is gone are taken out whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from metakg.data import Dataset, IdMap, Interactions, KnowledgeGraph, TrainView, Vocabulary
from metakg.data.part import Part
from metakg.engine import Engine, fit
from metakg.serve.fold import Fold
from metakg.store import Event
from metakg.store.events import CLICKS
from metakg.types import Json, Mask, Rows

_STILL_TRUE = ("source", "options", "filters")
"""What the manifest of the data says of these too; its counts and findings are of the files that were read then."""


def collected(data: Dataset, events: Iterable[Event]) -> Dataset:
    """Return a data set with everything that events tell: clicks, users, items, facts; and without who and what is gone.

    The last word on a pair counts. A like is a pair, at the time of the first one, unless the data had it before. A refusal
    takes the pair out, since training data hold what was liked. What was undone goes as it came: a pair that the data had
    before the store saw it stays. A forgotten user leaves nothing, not even the names that only facts about him had; what he
    does later is a new user's. A click on an item that is not there (yet, or any more) is left out and counted.

    The log is never used up: call it again with the first data and all events, old and new. With what it returned in their
    place the same events lead to the same pairs, but an item that was dropped is then unknown, and facts that were told of it
    are facts about an entity.

    Args:
        data: what the model that serves was trained on.
        events: everything that its store holds, in order.

    Returns:
        the data; `manifest["collected"]` counts what was added and taken out.
    """
    told, fold = _Told(), Fold()
    for event in events:
        told.add(event)
        fold.add(event)
    start = TrainView(data.vocabulary, data.interactions.pairs_only(), data.graph)
    engine = fold.world_onto(fit("popularity", start))
    v = engine.recommender.view.vocabulary
    liked, unknown = _liked(fold, engine)
    v = Vocabulary(v.users.extend(_new(v.users, [user for user, _ in liked])), v.items, v.entities, v.relations)
    old = _left(data.interactions, fold, told, engine.recommender.view.interactions, v)
    new = _pairs(liked, told, v, old)
    new = new.select(~np.isin(new.keys(v.n_items), old.keys(v.n_items)))
    graph = engine.recommender.view.graph
    users, entities = _who_stays(data, fold, v), _what_stays(graph, v.items.rows(sorted(engine.removed)), v)
    part = Part(v, users, entities)
    made, facts = part.pairs(Interactions.concat(old, new)), part.graph(graph)
    counts: Json = {
        "last": told.last,
        "events": told.count,
        "interactions": {"before": len(data.interactions), "added": len(new), "taken_out": len(data.interactions) - len(old)},
        "users": _change(data.vocabulary.users, part.vocabulary.users),
        "items": _change(data.vocabulary.items, part.vocabulary.items),
        "entities": _change(data.vocabulary.entities, part.vocabulary.entities),
        "facts": {"before": _n_facts(data.graph), "after": _n_facts(facts)},
        "left_out": {"clicks_on_unknown_items": unknown, "contradicting_links": fold.refused},
    }
    kept = {name: entry for name, entry in data.manifest.items() if name in _STILL_TRUE}
    return Dataset(part.vocabulary, made, facts, {**kept, "collected": counts})


@dataclass
class _Told:
    """What a run of events says beyond its last words.

    Attributes:
        count: how many events there are.
        last: number of the newest.
        first_s: for each user the items that he liked, each with the time of the first like.
    """

    count: int = 0
    last: int = 0
    first_s: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Take in the next event."""
        self.count, self.last = self.count + 1, event.seq
        if event.kind == "forget":
            self.first_s.pop(event.user or "", None)
        elif event.kind in CLICKS and event.kind not in ("dislike", "undo"):
            theirs = self.first_s.setdefault(event.user or "", {})
            theirs[event.item or ""] = min(event.time_s, theirs.get(event.item or "", event.time_s))


def _liked(fold: Fold, engine: Engine) -> tuple[list[tuple[str, str]], int]:
    """Return the pairs that were liked last, of items that are there; and how many there are of others."""
    liked = [(user, item) for user, theirs in fold.clicks.items() for item, word in theirs.items() if word]
    unknown = frozenset(engine.unknown({item for _, item in liked}))
    there = [(user, item) for user, item in liked if item not in unknown]
    return there, len(liked) - len(there)


def _left(old: Interactions, fold: Fold, told: _Told, kept: Interactions, v: Vocabulary) -> Interactions:
    """Return the pairs of the data that stay.

    Args:
        old: the pairs of the data.
        fold: what was told; whoever refused an item has no pair with it any more.
        told: when pairs were first liked: one that was undone since stays if the data had it before.
        kept: the pairs whose user was not forgotten and whose item was not dropped.
        v: the ids.
    """
    unsaid = [(user, item, word) for user, theirs in fold.clicks.items() for item, word in theirs.items() if not word]
    unsaid = [(user, item, word) for user, item, word in unsaid if word is False or item in told.first_s.get(user, {})]
    never = np.iinfo(np.int64).min
    since = np.array([never if word is False else told.first_s[user][item] for user, item, word in unsaid], np.int64)
    users, items = v.users.rows([user for user, _, _ in unsaid]), v.items.rows([item for _, item, _ in unsaid])
    known = (users >= 0) & (items >= 0)
    keys, since = Interactions(users[known], items[known]).keys(v.n_items), since[known]
    order = np.argsort(keys)
    keys, since = keys[order], since[order]
    pairs = old.keys(v.n_items)
    stays = np.isin(pairs, kept.keys(v.n_items))
    found = np.isin(pairs, keys)
    place = np.searchsorted(keys, pairs[found])
    stays[found] &= False if old.times_s is None else old.times_s[found] < since[place]
    return old.select(stays)


def _pairs(liked: list[tuple[str, str]], told: _Told, v: Vocabulary, like: Interactions) -> Interactions:
    """Return what was liked as pairs, with the columns that those of the data have; nobody has rated them."""
    users, items = v.users.rows([user for user, _ in liked]), v.items.rows([item for _, item in liked])
    values = None if like.values is None else np.full(len(liked), np.nan, np.float32)
    times_s = None if like.times_s is None else np.array([told.first_s[user][item] for user, item in liked], np.int64)
    return Interactions(users, items, values, times_s)


def _who_stays(data: Dataset, fold: Fold, v: Vocabulary) -> Mask:
    """Return who is there: (U,). The row of somebody who was forgotten is gone; who came back has a new one."""
    stays = np.ones(v.n_users, np.bool_)
    rows = data.vocabulary.users.rows(list(fold.forgotten))
    stays[rows[rows >= 0]] = False
    return stays


def _what_stays(graph: KnowledgeGraph, removed: Rows, v: Vocabulary) -> Mask:
    """Return which entities are there: the items that were not dropped, and what a fact names: (E,)."""
    stays = np.zeros(v.n_entities, np.bool_)
    stays[: v.n_items] = True
    stays[removed] = False
    for column in (graph.entity.heads, graph.entity.tails, graph.user.tails):
        stays[column[column >= v.n_items]] = True
    return stays


def _new(known: IdMap, names: list[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name not in known]


def _n_facts(graph: KnowledgeGraph) -> int:
    return len(graph.entity) + len(graph.user)


def _change(before: IdMap, after: IdMap) -> Json:
    there, added = before.rows(after.array) >= 0, after.rows(before.array) < 0
    return {"before": len(before), "added": int((~there).sum()), "taken_out": int(added.sum())}
