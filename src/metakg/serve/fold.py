"""`Fold`: many events as one change of an engine.

The state of a service is its bundle and all events. At the start they are folded and applied at once; later each batch is
folded and applied to what there is. Both ways lead to the same answers, so a service that was killed comes back as it was.

What a bundle knows and what arrived meet here: facts may name items by their own ids or by their entities', and which two names
mean the same is known only where they meet. So a fold keeps the last word on each name with its number, and compares numbers
when it is applied. A link that contradicts another one is left out and counted, since the event was accepted and cannot be
refused any more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

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
    """An item that came.

    Attributes:
        seq: number of the event by which it came.
        links: entities that it was said to be, in turn, each with the number of the event; the first that is possible counts.
        label: its name.
        dropped: whether it is gone again.
        after_facts: whether its id was the end of a fact before it came: it is what those facts are about.
    """

    seq: int
    links: dict[str, int] = field(default_factory=dict)
    label: str | None = None
    dropped: bool = False
    after_facts: bool = False


@dataclass(frozen=True)
class _Word:
    """The last word on a fact: the number of its event, and whether it was added or taken back."""

    seq: int
    added: bool


@dataclass(frozen=True)
class _Drop:
    """The last time an item was dropped: the number of the event, whether it had come, and the links it had by then."""

    seq: int
    came: bool
    links: tuple[str, ...]


@dataclass
class Fold:
    """What a run of events comes to. The last word counts.

    Attributes:
        clicks: for each user his items in the order of their last word: True liked, False refused, None undone.
        forgotten: users who were forgotten at least once.
        items: items that came or changed, in order of arrival.
        gone: items that were dropped at least once.
        facts: facts that were added or taken back, as they were named.
        ends: ids that facts named.
        users: users who came or changed: label, and facts as (relation, entity), each with the number of its last event.
        labels: names of entities.
        refused: links that contradict others, found while applying.
    """

    clicks: dict[str, dict[str, bool | None]] = field(default_factory=dict)
    forgotten: dict[str, None] = field(default_factory=dict)
    items: dict[str, _Item] = field(default_factory=dict)
    gone: dict[str, _Drop] = field(default_factory=dict)
    facts: dict[Triple, _Word] = field(default_factory=dict)
    ends: set[str] = field(default_factory=set)
    users: dict[str, tuple[str | None, dict[tuple[str, str], int]]] = field(default_factory=dict)
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
            told = dict.fromkeys(map(tuple, body.get("facts", ())), event.seq)
            self.users[user] = (body.get("label") or label, {**facts, **told})
            self.ends.update(entity for _, entity in body.get("facts", ()))
        elif event.kind == "item":
            entry = self.items.setdefault(item, _Item(event.seq, after_facts=item in self.ends))
            entry.dropped = False
            if body.get("entity"):
                entry.links.setdefault(body["entity"], event.seq)
            entry.label = body.get("label") or entry.label
            for relation, entity, name in body.get("facts", ()):
                self._add((item, relation, entity), event.seq)
                if name:
                    self.labels[entity] = name
        elif event.kind == "drop-item":
            came = self.items.get(item)
            if item in self.gone and (came is None or came.dropped):
                return  # what was said of it since waits for it to come back
            self.gone[item] = _Drop(event.seq, came is not None, () if came is None else tuple(came.links))
            if came is not None:
                came.dropped = True
        elif event.kind == "facts":
            for head, relation, tail in body["triples"]:
                self._add((head, relation, tail), event.seq)
        else:
            for head, relation, tail in body["triples"]:
                self.facts[head, relation, tail] = _Word(event.seq, False)

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
        there = frozenset(self.gone) - frozenset(engine.unknown(self.gone))
        engine = engine.without(users=self.forgotten, items=self.gone)
        for user, clicks in since:
            engine = engine.adapt(user, clicks.liked, clicks.disliked)
        names = _Names(engine, self, there)
        dropped = self._dropped(names)
        added, lost = self._told(names, dropped)
        about = [
            (user, relation, names.entity(end))
            for user, (_, theirs) in self.users.items()
            for (relation, end), seq in theirs.items()
            if seq > dropped.get(end, -1)
        ]
        if lost:
            engine = engine.remove_facts(lost)
        # What was said of an item after it was dropped waits for it to come back, and must not go with it now.
        gone = {names.entity(item): item for item, entry in self.items.items() if entry.dropped}
        late = [fact for fact in added if fact[0] in gone or fact[2] in gone]
        late_about = [fact for fact in about if fact[2] in gone]
        now = [fact for fact in added if fact not in late] if late else added
        support = self._support(names, now, [fact for fact in about if fact not in late_about] if late_about else about)
        if support is not None:
            engine = engine.adapt(support=support)
        engine = engine.without(items=gone.values())
        if late or late_about:
            engine = engine.adapt(support=_facts(late, late_about))
        items = {item: entry.label for item, entry in self.items.items() if entry.label}
        users = {user: label for user, (label, _) in self.users.items() if label}
        if items or users or self.labels:
            engine = engine.rename(items=items, users=users, entities=self.labels)
        self.refused += names.refused
        return engine

    def _add(self, fact: Triple, seq: int) -> None:
        self.facts[fact] = _Word(seq, True)
        self.ends.update((fact[0], fact[2]))

    def _dropped(self, names: _Names) -> dict[str, int]:
        """Return the names of what was dropped, each with the number of the event that did it last."""
        dropped: dict[str, int] = {}
        for item, drop in self.gone.items():
            for end in names.when_dropped(item, drop):
                dropped[end] = max(drop.seq, dropped.get(end, -1))
        return dropped

    def _told(self, names: _Names, dropped: dict[str, int]) -> tuple[list[Triple], list[Triple]]:
        """Return the facts that were added and those that were taken back, between entities: of each its last word."""
        last: dict[Triple, tuple[_Word, bool]] = {}
        for fact, word in self.facts.items():
            meant, stays = names.fact(fact), word.seq > max(dropped.get(fact[0], -1), dropped.get(fact[2], -1))
            if meant not in last or last[meant][0].seq <= word.seq:
                last[meant] = word, stays
        added = [fact for fact, (word, stays) in last.items() if word.added and stays]
        return added, [fact for fact, (word, _) in last.items() if not word.added]

    def _support(self, names: _Names, facts: list[Triple], about: list[Triple]) -> Support | None:
        known = names.engine
        arriving = [
            (item, names.links.get(item), entry.label)
            for item, entry in self.items.items()
            if known.unknown([item]) or item in names.links
        ]
        if not (arriving or facts or self.users):
            return None
        ends = {name for head, _, tail in facts for name in (head, tail)} | {tail for _, _, tail in about}
        return replace(
            _facts(facts, about),
            arrivals=_table(("item", "entity", "label"), arriving),
            labels=_table(("entity", "label"), [(e, label) for e, label in self.labels.items() if e in ends]),
            newcomers=pa.array(list(self.users), pa.string()),
        )


class _Names:
    """What ids mean: an entity's, or an item's, which then stands for its entity.

    Args:
        engine: what is known.
        fold: what arrives.
        there: items that were there before, and are dropped by what arrives.
    """

    def __init__(self, engine: Engine, fold: Fold, there: frozenset[str]) -> None:
        self.engine = engine
        self._there = there
        self._vocabulary = engine.recommender.view.vocabulary
        self._fold = fold
        self.refused = 0
        self.links: dict[str, str] = {}
        """Entity of each item that arrives with one, or is linked to one only now."""
        claimed: set[str] = set()
        for item, entry in fold.items.items():
            for entity, seq in self._wanted(item, entry).items():
                if item not in self.links and self._may_link(item, entity, claimed):
                    claimed.add(entity)
                    self.links[item] = entity
                elif not self._is_linked(item, entity):
                    self.refused += 1
                    LOG.warning("an item's link contradicts an earlier one and is left out", extra={"event": seq})

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
        if name in self._fold.items:
            return unlinked_entity(name)
        return name

    def when_dropped(self, item: str, drop: _Drop) -> set[str]:
        """Return what an item was called when it was dropped; nothing if it was not there yet."""
        v = self._vocabulary
        row = v.items.row(item)
        if item not in self._there and not drop.came:
            return set()
        linked = {self.links[item]} & {item, *drop.links} if item in self.links else set()
        return {item, unlinked_entity(item) if row is None else v.entities.id(row), *linked}

    def _wanted(self, item: str, entry: _Item) -> dict[str, int]:
        """Return the entities that an item may be, in turn: first its own id, if facts named it before the item came."""
        v = self._vocabulary
        itself = v.items.row(item) is None and (entry.after_facts or item in v.entities)
        return {**({item: entry.seq} if itself else {}), **entry.links}

    def _is_linked(self, item: str, entity: str) -> bool:
        row = self._vocabulary.items.row(item)
        return row is not None and self._vocabulary.entities.id(row) == entity

    def _may_link(self, item: str, entity: str, claimed: set[str]) -> bool:
        v = self._vocabulary
        row, other = v.items.row(item), v.entities.row(entity)
        taken = entity in claimed or (other is not None and other < v.n_items)
        return not taken and (row is None or v.entities.id(row) == unlinked_entity(item))


def _facts(facts: Sequence[Triple], about: Sequence[Triple]) -> Support:
    """Return a support of facts alone, and of facts about users."""
    nobody, names = pa.array([], pa.string()), ("head", "relation", "tail")
    return Support(nobody, nobody, triples=_table(names, facts), user_triples=_table(names, about))


def _table(names: tuple[str, ...], rows: Sequence[tuple[str | None, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)})
