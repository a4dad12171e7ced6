"""`Writer`: many requests, one transaction.

A commit waits for the disk, and a disk that answers 100 times a second would allow 100 requests a second if each had its own.
So one thread collects what has come in while the last commit was under way, and commits it together.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from metakg.errors import StoreError
from metakg.store.events import Draft, Event
from metakg.store.store import Accepted, Append, Outcome, Store, unreachable

LOG = logging.getLogger("metakg.store")
MOST_EVENTS = 5_000
"""Events in one transaction; a single larger request still goes in whole."""


class Full(Exception):  # noqa: N818 - not an error of the store: come back in a moment
    """Too much is waiting to be written."""


class Writer:
    """A thread that appends to a store.

    Args:
        store: where to.
        committed: called in that thread with the events of each commit, before the requests are answered: whoever was told
            that his click is kept, finds it in the next answer of this process.
        capacity: events that may wait.
    """

    def __init__(self, store: Store, committed: Callable[[Sequence[Event]], None], *, capacity: int = 20_000) -> None:
        self._store = store
        self._committed = committed
        self._capacity = capacity
        self._waiting: deque[tuple[Append, Future[Outcome]]] = deque()
        self._events = 0
        self._stopping = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="metakg-writer", daemon=True)
        self._thread.start()

    def submit(self, drafts: Sequence[Draft], key: str | None = None) -> Future[Outcome]:
        """Queue a request; the future holds its outcome once it is on disk, or the `StoreError`.

        Raises:
            Full: too much is waiting, or the writer is stopping.
        """
        future: Future[Outcome] = Future()
        with self._wake:
            if self._stopping or self._events + len(drafts) > self._capacity:
                raise Full
            self._waiting.append((Append(tuple(drafts), key), future))
            self._events += len(drafts)
            self._wake.notify()
        return future

    @property
    def waiting(self) -> int:
        """Events that are not on disk yet."""
        return self._events

    def stop(self) -> None:
        """Write what is waiting, then end."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._stopping:
                    self._wake.wait()
                if not self._waiting:
                    return
                batch: list[tuple[Append, Future[Outcome]]] = []
                events = 0
                while self._waiting and (not events or events + len(self._waiting[0][0].drafts) <= MOST_EVENTS):
                    events += len(self._waiting[0][0].drafts)
                    request, future = self._waiting.popleft()
                    if future.set_running_or_notify_cancel():  # whoever gave up before this moment was promised nothing
                        batch.append((request, future))
            if batch:
                self._write(batch)
            with self._wake:
                self._events -= events

    def _write(self, batch: list[tuple[Append, Future[Outcome]]]) -> None:
        try:
            outcomes = self._store.append([request for request, _ in batch])
        except Exception as err:  # noqa: BLE001 - the thread must live: the cause goes to whoever waits for the outcome
            if len(batch) > 1 and not (isinstance(err, StoreError) and unreachable(err)):
                # One request holds what the database does not take; the others must not suffer for it.
                for pair in batch:
                    self._write([pair])
                return
            LOG.error("events not kept", extra={"events": sum(len(r.drafts) for r, _ in batch), "error": str(err)})
            for _, future in batch:
                future.set_exception(err)
            return
        fresh = [event for outcome in outcomes if isinstance(outcome, Accepted) for event in outcome.events]
        try:
            if fresh:
                self._committed(fresh)
        except Exception:  # they are kept; an answer that said otherwise would be a lie
            LOG.exception("kept events could not be applied")
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            future.set_result(outcome)
