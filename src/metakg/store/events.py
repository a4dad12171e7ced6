"""What can happen, as frozen objects. The state of a service is its bundle and these, in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from metakg.types import Json

Kind = Literal["click", "like", "dislike", "undo", "user", "forget", "item", "drop-item", "facts", "drop-facts"]
"""click, like, dislike, undo: a user and an item.
user, item: one that is new or changed; `body` holds `label`, `entity` and `facts`.
forget, drop-item: one that is to be gone.
facts, drop-facts: `body["triples"]` is a list of [head, relation, tail]."""

KINDS: tuple[str, ...] = get_args(Kind)
CLICKS = frozenset({"click", "like", "dislike", "undo"})
_NEEDS_USER = CLICKS | {"user", "forget"}
_NEEDS_ITEM = CLICKS | {"item", "drop-item"}


@dataclass(frozen=True)
class Draft:
    """An event that has no place in the order yet.

    Attributes:
        kind: what happened.
        user: whose it is; None where it belongs to nobody.
        item: which item; None where there is none.
        body: what else there is to say; JSON.
        time_s: when it happened, UTC seconds; None: when it is accepted.
        client_id: the sender's own id of the event: a second event of that id has no effect.

    Raises:
        ValueError: the kind is unknown, or lacks its user or item.
    """

    kind: Kind
    user: str | None = None
    item: str | None = None
    body: Json = field(default_factory=dict)
    time_s: int | None = None
    client_id: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"an event's kind is one of {', '.join(KINDS)}, not {self.kind!r}")
        for name, value, needed in (("user", self.user, _NEEDS_USER), ("item", self.item, _NEEDS_ITEM)):
            if (value is not None) != (self.kind in needed):
                raise ValueError(f"an event {self.kind!r} has {'one' if self.kind in needed else 'no'} {name}, not {value!r}")


@dataclass(frozen=True)
class Event:
    """A draft that was accepted.

    Attributes:
        seq: place in the order, from 1; a number may be missing where somebody was forgotten.
        received_s: when it was accepted, UTC seconds.
    """

    seq: int
    kind: Kind
    user: str | None
    item: str | None
    body: Json
    time_s: int
    received_s: int
    client_id: str | None = None
