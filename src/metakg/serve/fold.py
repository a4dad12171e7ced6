"""`Fold`: many events as one change of an engine.

The state of a service is its bundle and all events. At the start they are folded and applied at once; later each batch is
folded and applied to what there is. Both ways lead to the same answers, so a service that was killed comes back as it was.

What a bundle knows and what arrived meet here: facts may name items by their own ids, and a link that contradicts another one
is left out and counted, since the event was accepted and cannot be refused any more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from metakg.data import Support
from metakg.data.view import unlinked_entity
from metakg.engine import Engine
from metakg.store import Event
from metakg.store.events import CLICKS

LOG = logging.getLogger("metakg.serve")
Triple = tuple[str, str, str]


@dataclass
class _Item:
    entity: str | None = None
    label: str | None = None
    dropped: bool = False


@dataclass
class Fold:
    """What a run of events comes to. The last word counts.

    Attributes:
        clicks: for each user his items in the order of their last word: True liked, False refused, None undone.
        forgotten: users who were forgotten at least once.
        items: items that came or changed, in order of arrival.
        gone: items that were dropped at least once.
        facts: facts that were added, as they were named.
        lost: facts that were taken back.
        users: users who came or changed: label, and facts as (relation, entity).
        labels: names of entities.
        refused: links that contradict others, found while applying.
    """

    clicks: dict[str, dict[str, bool | None]] = field(default_factory=dict)
    forgotten: dict[str, None] = field(default_factory=dict)
    items: dict[str, _Item] = field(default_factory=dict)
    gone: dict[str, None] = field(default_factory=dict)
    facts: dict[Triple, None] = field(default_factory=dict)
    lost: dict[Triple, None] = field(default_factory=dict)
    users: dict[str, tuple[str | None, dict[tuple[str, str], None]]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    refused: int = 0

    @staticmethod
    def of(events: Iterable[Event]) -> Fold:
        """Return what these events come to."""
        made = Fold()
        for event in events:
            made.add(event)
        return made

    def add(self, event: Event) -> None:
        """Take in the next event."""
        user, item, body = event.user or "", event.item or "", event.body
        if event.kind in CLICKS:
            theirs = self.clicks.setdefault(user, {})
            theirs.pop(item, None)
            theirs[item] = None if event.kind == "undo" else event.kind != "dislike"
        elif event.kind == "forget":
            self.clicks.pop(user, None)
            self.users.pop(user, None)
            self.forgotten[user] = None
        elif event.kind == "user":
            label, facts = self.users.get(user, (None, {}))
            self.users[user] = (body.get("label") or label, {**facts, **dict.fromkeys(map(tuple, body.get("facts", ())))})
        elif event.kind == "item":
            entry = self.items.setdefault(item, _Item())
            entry.dropped = False
            entry.entity = body.get("entity") or entry.entity
            entry.label = body.get("label") or entry.label
            for relation, entity, name in body.get("facts", ()):
                self._fact((item, relation, entity))
                if name:
                    self.labels[entity] = name
        elif event.kind == "drop-item":
            self.gone[item] = None
            entry = self.items.setdefault(item, _Item())
            entry.dropped = True
            ends = {item, entry.entity}
            self.facts = {fact: None for fact in self.facts if fact[0] not in ends and fact[2] not in ends}
        elif event.kind == "facts":
            for head, relation, tail in body["triples"]:
                self._fact((head, relation, tail))
        else:
            for head, relation, tail in body["triples"]:
                self.facts.pop((head, relation, tail), None)
                self.lost[head, relation, tail] = None

    def clicks_onto(self, engine: Engine) -> Engine:
        """Return the engine with these clicks. Takes a moment for each user and changes nobody else's answers."""
        for user, theirs in self.clicks.items():
            undone = [item for item, word in theirs.items() if word is None]
            liked = [item for item, word in theirs.items() if word is True]
            refused = [item for item, word in theirs.items() if word is False]
            if undone:
                engine = engine.withdraw(user, undone)
            if liked or refused:
                engine = engine.adapt(user, liked, refused)
        return engine

    def world_onto(self, engine: Engine) -> Engine:
        """Return the engine with these users, items and facts, and without those that are gone. Takes a while."""
        # Clicks that came after somebody was forgotten are his again.
        since = [(user, engine.overlay[user]) for user in self.forgotten]
        engine = engine.without(users=self.forgotten, items=self.gone)
        for user, clicks in since:
            engine = engine.adapt(user, clicks.liked, clicks.disliked)
        names = _Names(engine, self)
        if self.lost:
            engine = engine.remove_facts([names.fact(fact) for fact in self.lost])
        support = self._support(names)
        if support is not None:
            engine = engine.adapt(support=support)
        engine = engine.without(items=[item for item, entry in self.items.items() if entry.dropped])
        items = {item: entry.label for item, entry in self.items.items() if entry.label}
        users = {user: label for user, (label, _) in self.users.items() if label}
        if items or users or self.labels:
            engine = engine.rename(items=items, users=users, entities=self.labels)
        self.refused += names.refused
        return engine

    def _fact(self, fact: Triple) -> None:
        self.facts.setdefault(fact)

    def _support(self, names: _Names) -> Support | None:
        known = names.engine
        arriving = [
            (item, names.links.get(item), entry.label)
            for item, entry in self.items.items()
            if known.unknown([item]) or item in names.links
        ]
        facts = [names.fact(fact) for fact in self.facts]
        about = [(user, r, names.entity(e)) for user, (_, theirs) in self.users.items() for r, e in theirs]
        if not (arriving or facts or self.users):
            return None
        ends = {name for head, _, tail in facts for name in (head, tail)} | {tail for _, _, tail in about}
        return Support(
            pa.array([], pa.string()),
            pa.array([], pa.string()),
            _table(("item", "entity", "label"), arriving),
            _table(("head", "relation", "tail"), facts),
            _table(("head", "relation", "tail"), about),
            _table(("entity", "label"), [(e, label) for e, label in self.labels.items() if e in ends]),
            pa.array(list(self.users), pa.string()),
        )


class _Names:
    """What ids mean: an entity's, or an item's, which then stands for its entity.

    Args:
        engine: what is known.
        fold: what arrives.
    """

    def __init__(self, engine: Engine, fold: Fold) -> None:
        self.engine = engine
        self._vocabulary = engine.recommender.view.vocabulary
        self._fold = fold
        self.refused = 0
        self.links: dict[str, str] = {}
        """Entity of each item that arrives with one, or is linked to one only now."""
        claimed: dict[str, str] = {}
        for item, entry in fold.items.items():
            if entry.entity is not None and self._may_link(item, entry.entity, claimed):
                claimed[entry.entity] = self.links[item] = entry.entity

    def fact(self, fact: Triple) -> Triple:
        """Return a fact between entities."""
        return self.entity(fact[0]), fact[1], self.entity(fact[2])

    def entity(self, name: str) -> str:
        """Return the entity that an id names."""
        v = self._vocabulary
        if name in self.links:
            return self.links[name]
        row = v.items.row(name)
        if row is not None:
            return v.entities.id(row)
        if name in self._fold.items and name not in v.entities:
            return unlinked_entity(name)
        return name

    def _may_link(self, item: str, entity: str, claimed: dict[str, str]) -> bool:
        v = self._vocabulary
        row, other = v.items.row(item), v.entities.row(entity)
        if row is not None and v.entities.id(row) == entity:
            return False  # as before
        taken = entity in claimed or (other is not None and other < v.n_items)
        elsewhere = row is not None and v.entities.id(row) != unlinked_entity(item)
        if taken or elsewhere:
            self.refused += 1
            LOG.warning("an item's link contradicts an earlier one and is left out", extra={"item": item, "entity": entity})
        return not (taken or elsewhere)


def _table(names: tuple[str, ...], rows: Sequence[tuple[str | None, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)})
