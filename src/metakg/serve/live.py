"""`Live`: the state that answers now.

An immutable engine that is replaced, never changed: whoever reads `state` once sees one moment. Three things replace it:

- clicks, in the moment after they were committed, in the thread that wrote them;
- what changes the world (items, users, facts), folded in a background thread, many at once, with the clicks since;
- a new bundle: loaded beside the old one, given everything the store holds, warmed up, then swapped in.

Other processes may write to the same store: a thread follows it by number, so all of them come to the same answers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import metakg
from metakg import files
from metakg.engine import Engine
from metakg.errors import StoreError
from metakg.serve.fold import Fold
from metakg.store import Event, Store
from metakg.store.events import CLICKS

LOG = logging.getLogger("metakg.serve")
_PASSES = 3
"""Times that a new state reads what arrived while it was made, before it queues the rest."""
_AGAIN_S = 5.0


@dataclass(frozen=True, eq=False)
class State:
    """One moment.

    Attributes:
        engine: what answers.
        bundle: the folder it came from.
        digest: first letters of its manifest's SHA-256.
        seq: number of the last event whose clicks are in.
        base: grows when anything but clicks changed, so answers kept of an earlier one are stale.
        hidden_users: who was forgotten, but is still being taken out of the base.
        hidden_items: likewise.
    """

    engine: Engine
    bundle: Path
    digest: str
    seq: int
    base: int
    hidden_users: frozenset[str] = frozenset()
    hidden_items: frozenset[str] = frozenset()

    @property
    def version(self) -> str:
        """The bundle and the events that an answer rests on; equal in all processes that have come as far."""
        return f"{self.digest}.{self.seq}"


class Live:
    """The state of one process, and the threads that keep it current.

    Args:
        store: what was kept.
        gather_s: how long new items wait for others before they are worked in together.
        follow_s: how often the store is asked for what other processes wrote.
    """

    def __init__(self, store: Store, *, gather_s: float = 0.2, follow_s: float = 0.25) -> None:
        self._store = store
        self._gather_s, self._follow_s = gather_s, follow_s
        self._state: State | None = None
        self._lock = threading.Lock()  # held for moments: replacing the state
        self._building = threading.Lock()  # held for as long as a base is being made
        self._pending: list[Event] = []
        self._came_s: list[float] = []  # when each of the pending events did
        self._since: list[Event] | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.refused = 0
        """Changes that could not be applied; the log says which."""
        self.reachable = True
        """Whether the store answered when it was last asked."""

    @property
    def state(self) -> State | None:
        """What answers now; None until the first bundle is loaded."""
        return self._state

    @property
    def behind(self) -> tuple[int, float]:
        """How many changes of the world are accepted but not in yet, and for how many seconds the oldest has waited."""
        came = self._came_s[:1]
        return len(self._pending), time.monotonic() - came[0] if came else 0.0

    def start(self, bundle: Path) -> None:
        """Load the first bundle, apply all events, and keep current from then on. Returns when answers are warm.

        Raises:
            CheckpointError, DataError: the bundle cannot be opened.
            StoreError: the store cannot be read.
        """
        self.swap(bundle)
        for run, name in ((self._build_on, "metakg-builder"), (self._follow_on, "metakg-follower")):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End the threads."""
        self._stopping.set()
        self._wake.set()
        for thread in self._threads:
            thread.join()

    def swap(self, bundle: Path) -> State:
        """Load a bundle beside the state that answers, bring it up to date, warm it up, and let it answer.

        Raises:
            CheckpointError, DataError: the bundle cannot be opened; the old state goes on.
            StoreError: the store cannot be read; the old state goes on.
        """
        with self._building:
            engine = metakg.load(bundle)
            digest = files.sha256(bundle / "manifest.json")[:8]
            seq = refused = 0
            for _ in range(_PASSES):  # what arrives meanwhile is caught up with; if it never ends, the rest is queued below
                engine, seq, changes, more = self._caught_up(engine, seq)
                refused += more
                if not changes:
                    break
            _warn_of_strangers(engine, bundle)
            warm(engine)
            with self._lock:
                rest = list(self._store.portions(seq))  # the last that can fail comes before anything is replaced
                base = 0 if self._state is None else self._state.base + 1
                self._pending, self._came_s = [], []
                self.refused = refused  # all events were applied anew
                self._state = State(engine, bundle, digest, seq, base)
                for events in rest:
                    self._take(events)
                return self._state

    def settle(self) -> State:
        """Work in, here and now, what waits for the builder. To be called after `swap`."""
        while self._pending:
            self._build()
        assert self._state is not None
        return self._state

    def committed(self, events: Sequence[Event]) -> None:
        """Take in what this process has just committed."""
        with self._lock:
            state = self._state
            if state is None:
                return  # the first bundle is being loaded, and will read them
            fresh = [event for event in events if event.seq > state.seq]
            if fresh and fresh[0].seq == state.seq + 1:
                self._take(fresh)
            elif fresh:  # another process was faster
                self._follow()

    def _caught_up(self, engine: Engine, seq: int) -> tuple[Engine, int, bool, int]:
        """Apply all events behind a number.

        Returns:
            the engine, the number reached, whether the world changed, and how many changes were left out.
        """
        world: list[Event] = []
        for events in self._store.portions(seq):
            engine, seq = _now(engine, events), events[-1].seq
            world.extend(event for event in events if event.kind not in CLICKS)
        engine, refused = _worked_in(engine, world)
        return engine, seq, bool(world), refused

    def _follow(self) -> None:
        """Take in what the store holds beyond the state. Called with the lock."""
        assert self._state is not None
        for events in self._store.portions(self._state.seq):
            self._take(events)

    def _take(self, events: Sequence[Event]) -> None:
        """Apply clicks, queue the rest. Called with the lock."""
        state = self._state
        assert state is not None
        engine = _now(state.engine, events)
        if self._since is not None:
            self._since.extend(events)
        world = [event for event in events if event.kind not in CLICKS]
        self._state = replace(state, engine=engine, seq=events[-1].seq)
        if world:
            self._pending.extend(world)
            self._came_s.extend([time.monotonic()] * len(world))
            self._hide()
            self._wake.set()

    def _hide(self) -> None:
        """Hide at once what is only waiting to be taken out. Called with the lock."""
        assert self._state is not None
        users = frozenset(event.user for event in self._pending if event.kind == "forget" and event.user)
        last = {event.item: event.kind for event in self._pending if event.item}
        items = frozenset(item for item, kind in last.items() if kind == "drop-item" and item)
        self._state = replace(self._state, hidden_users=users, hidden_items=items)

    def _build_on(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            if self._stopping.wait(self._gather_s):
                return
            self._wake.clear()
            try:
                self._build()
            except Exception:
                LOG.exception("changes could not be worked in; tried again in a moment")
                self._stopping.wait(_AGAIN_S)
                self._wake.set()

    def _build(self) -> None:
        """Work the waiting changes into a new base, while the old one answers."""
        with self._building:
            with self._lock:
                state, batch = self._state, list(self._pending)
                self._since = []
            assert state is not None
            try:
                engine, refused = _worked_in(state.engine, batch)
                warm(engine)
            except BaseException:
                self._since = None
                raise
            with self._lock:
                since, self._since = self._since, None
                assert self._state is not None
                assert since is not None
                self._pending, self._came_s = self._pending[len(batch) :], self._came_s[len(batch) :]
                self._state = replace(self._state, engine=_now(engine, since), base=self._state.base + 1)
                self._hide()
                self.refused += refused

    def _follow_on(self) -> None:
        while not self._stopping.wait(self._follow_s):
            try:
                last = self._store.last()
                self._store.tidy()
                with self._lock:
                    if self._state is not None and last > self._state.seq:
                        self._follow()
                self.reachable = True
            except StoreError as err:
                if self.reachable:
                    LOG.error("the store does not answer", extra={"error": str(err)})
                self.reachable = False
            except Exception:
                LOG.exception("events could not be taken in")


def warm(engine: Engine) -> None:
    """Ask once for everything, so that nobody waits for what is made at first use."""
    best = engine.recommend(None, 3)
    if best:
        liked = [entry.item for entry in best]
        engine.recommend(None, 3, liked=liked, disliked=liked[:1])
        engine.similar(liked[0], 3)
        if engine.explains:
            engine.explain(None, liked[-1], liked=liked[:1])
    for kind in ("item", "entity", "relation", "user"):
        engine.search("a", 1, kind)


def _warn_of_strangers(engine: Engine, bundle: Path) -> None:
    """Say so where a bundle knows few of the items that the store's clicks name: it is likely the store of other data."""
    clicked = {item for _, clicks in engine.overlay.items() for item in (*clicks.liked, *clicks.disliked)}
    unknown = len(engine.unknown(clicked - engine.removed))
    if 2 * unknown > len(clicked):
        told = {"bundle": str(bundle), "clicked_items": len(clicked), "unknown": unknown}
        LOG.warning(
            "most items that the store's clicks name are unknown to the bundle: is it the store of other data?", extra=told
        )


def _now(engine: Engine, events: Sequence[Event]) -> Engine:
    """Return the engine with what takes effect at once: clicks, and the end of a forgotten user's."""
    fold = Fold()
    for event in events:
        if event.kind in CLICKS:
            fold.add(event)
        elif event.kind == "forget" and event.user is not None:
            engine, fold = fold.clicks_onto(engine).forget(event.user), Fold()
    return fold.clicks_onto(engine)


def _worked_in(engine: Engine, batch: Sequence[Event]) -> tuple[Engine, int]:
    """Return the engine with a batch of changes, and how many had to be left out.

    They were accepted, so one that turns out to be impossible must not stand in the way of the others, now or later.
    """
    if not batch:
        return engine, 0
    fold = Fold.of(batch)
    try:
        return fold.world_onto(engine), fold.refused
    except Exception as err:  # noqa: BLE001 - whatever it is, the others go on; it is logged with its number
        if len(batch) == 1:
            LOG.error("a change cannot be applied and is left out", extra={"seq": batch[0].seq, "error": type(err).__name__})
            return engine, 1
    half, refused = len(batch) // 2, 0
    for part in (batch[:half], batch[half:]):
        engine, more = _worked_in(engine, part)
        refused += more
    return engine, refused
