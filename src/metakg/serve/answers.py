"""What an engine says, as JSON. One state in, one answer out; nothing here knows the web."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from metakg.engine import Recommendation
from metakg.explain import Path as ReasonPath
from metakg.serve.fold import Fold
from metakg.serve.live import State
from metakg.store import Event
from metakg.types import Json

PREVIEW = "preview:new item"
"""The id of an item that is only thought of."""
_REASONS = 3


def dump(value: object) -> bytes:
    """Return compact JSON. A number that is not finite is a fault of ours, and an error rather than bad JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def recommendations(
    state: State,
    user: str | None,
    n: int,
    *,
    liked: Sequence[str] = (),
    disliked: Sequence[str] = (),
    filter_seen: bool = True,
    allow: Sequence[str] | None = None,
    deny: Sequence[str] = (),
    diversity: float = 0.0,
    explain: bool = False,
) -> Json:
    """Return the best items for a user, or for somebody without an account."""
    engine, asking = state.engine, user
    if user is not None and user in state.hidden_users:
        # what the base knows of him is on its way out; what he did since he was forgotten counts
        asking, since = None, engine.overlay[user]
        liked, disliked = since.liked, since.disliked
    found = engine.recommend(
        asking,
        n,
        liked=liked,
        disliked=disliked,
        filter_seen=filter_seen,
        allow=allow,
        deny=[*deny, *state.hidden_items] if state.hidden_items else deny,
        diversity=diversity,
    )
    # the list says how it was made by its first item; where it is empty, the engine is asked
    way = found[0].way if found else engine.way(asking, liked, disliked)
    items = [recommended(entry) for entry in found]
    if explain:
        shown = [entry.item for entry in found] if engine.explains else []
        paths = engine.reasons(asking, shown, _REASONS, liked=liked, disliked=disliked) if shown else [()] * len(items)
        for item, reasons in zip(items, paths, strict=True):
            item["reasons"] = [path.as_json() for path in reasons if _may_be_told(state, path)]
    return {"user": user, "way": way, "model": engine.model, "items": items}


def recommended(entry: Recommendation) -> Json:
    """Return one recommended item."""
    return {"item": entry.item, "label": entry.label, "score": entry.score, "way": entry.way}


def explanation(
    state: State, user: str | None, item: str, limit: int, liked: Sequence[str] = (), disliked: Sequence[str] = ()
) -> Json:
    """Return why an item is shown.

    Raises:
        DataError: the item is unknown.
        ConfigError: the model cannot say.
    """
    asking = user
    if user is not None and user in state.hidden_users:
        asking, since = None, state.engine.overlay[user]
        liked, disliked = since.liked, since.disliked
    found = state.engine.explain(asking, item, limit, liked=liked, disliked=disliked)
    told = replace(found, paths=tuple(path for path in found.paths if _may_be_told(state, path)))
    return {**told.as_json(), "user": user}


def _may_be_told(state: State, path: ReasonPath) -> bool:
    """Return whether a path leads by nothing that was removed and is only waiting to be taken out."""
    return not any(node.kind == "item" and node.id in state.hidden_items for node in path.nodes)


def item_page(state: State, item: str, limit: int = 50) -> Json:
    """Return what is known of an item.

    Raises:
        DataError: the item is unknown.
    """
    engine, hidden = state.engine, state.hidden_items
    found = engine.facts(item, limit + len(hidden))
    facts = [asdict(fact) for fact in found if not (fact.is_item and fact.entity in hidden)][:limit]
    known = engine.found(item)
    assert known is not None, "an item with facts is found"
    return {"item": item, "label": known.label, "popularity": known.popularity, "facts": facts}


def preview(state: State, label: str | None, facts: Sequence[tuple[str, str, str | None]], n: int) -> Json:
    """Return whom a new item with these facts would reach, and what it would be like; nothing is kept."""
    body: dict[str, Any] = {"label": label, "entity": None, "facts": [list(fact) for fact in facts]}
    engine = Fold.of([Event(0, "item", None, PREVIEW, body, 0, 0)]).world_onto(state.engine)
    then = replace(state, engine=engine)
    return {**reach(then, PREVIEW, n), "similar": similar(then, PREVIEW, n)}


def similar(state: State, item: str, n: int) -> list[Json]:
    """Return the items closest to one.

    Raises:
        DataError: the item is unknown.
    """
    found = state.engine.similar(item, n + len(state.hidden_items))
    return [recommended(entry) for entry in found if entry.item not in state.hidden_items][:n]


def reach(state: State, item: str, n: int) -> Json:
    """Return whom an item would reach.

    Raises:
        DataError: the item is unknown.
    """
    found = [who for who in state.engine.reach(item, n + len(state.hidden_users)) if who.id not in state.hidden_users]
    return {"users": [{"user": who.id, "label": who.label, "score": who.score} for who in found[:n]]}


@dataclass(frozen=True)
class Made:
    """A list of recommendations, ready to be sent once it is said of which version it is true.

    Attributes:
        way: how it was made.
        body: the answer, a JSON object.
    """

    way: str
    body: bytes

    def at(self, version: str) -> bytes:
        """Return the answer with the version of the state that it is true of: a kept answer stays true of later ones."""
        return b'{"version":' + dump(version) + b"," + self.body[1:]


class Kept:
    """The last answers, as they were sent, for as long as they are true.

    An answer rests on the base and on its own user's clicks, so both are kept with it and compared: the clicks of others, which
    come hundreds of times a second, cost nothing.

    Args:
        most: answers to keep.
        most_bytes: what their bodies may take together.
    """

    def __init__(self, most: int = 4096, most_bytes: int = 32 << 20) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._kept: OrderedDict[tuple[object, ...], tuple[tuple[object, ...], Made]] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = 0
        self.held_bytes = 0
        """What the bodies take together."""

    def answer(self, state: State, user: str, question: tuple[object, ...], make: Callable[[], Made]) -> Made:
        """Return the kept answer, or make and keep it."""
        found = self.find(state, user, question)
        if found is None:
            found = make()
            key = (user, *question)
            with self._lock:
                self._drop(key)
                self._kept[key] = (_rests_on(state, user), found)
                self.held_bytes += len(found.body)
                while len(self._kept) > self._most or self.held_bytes > self._most_bytes:
                    self._drop(next(iter(self._kept)))
        return found

    def find(self, state: State, user: str, question: tuple[object, ...]) -> Made | None:
        """Return the kept answer, or None."""
        key = (user, *question)
        with self._lock:
            entry = self._kept.get(key)
            if entry is None or entry[0] != _rests_on(state, user):
                return None
            self._kept.move_to_end(key)
            self.hits += 1
            return entry[1]

    def _drop(self, key: tuple[object, ...]) -> None:
        entry = self._kept.pop(key, None)
        if entry is not None:
            self.held_bytes -= len(entry[1].body)


def _rests_on(state: State, user: str) -> tuple[object, ...]:
    return state.digest, state.base, state.engine.overlay[user], user in state.hidden_users, state.hidden_items
