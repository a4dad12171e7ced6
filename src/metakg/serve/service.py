"""`Service`: what the routes share. The state that answers, threads to ask it in, and the one way to keep an event."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fastapi import Request

from metakg.errors import StoreError
from metakg.serve import answers
from metakg.serve.gate import Refusal
from metakg.serve.limits import Limits
from metakg.serve.live import Live, State
from metakg.serve.metrics import Metrics
from metakg.serve.pool import Busy, Pool, within
from metakg.store import Accepted, Draft, Store, Writer
from metakg.store.writer import Full
from metakg.types import Json

T = TypeVar("T")
_NOTHING = "nothing was kept"
_UNSURE = "it may or may not have been kept: send it again with the same Idempotency-Key (or the same ids)"


@dataclass
class Service:
    """What the routes share.

    Attributes:
        live: the state that answers.
        store, writer: where events go.
        limits: how much, how often, how long.
        bundles: folder that `swap` may take bundles from, or None.
        backups: folder that backups are written to, or None.
    """

    live: Live
    store: Store
    writer: Writer
    limits: Limits
    metrics: Metrics
    bundles: Path | None = None
    backups: Path | None = None
    kept: answers.Kept = field(default_factory=answers.Kept)
    begun_s: float = field(default_factory=time.monotonic)
    stopping: bool = False

    def __post_init__(self) -> None:
        self.pool = Pool(self.limits.threads, self.limits.queue, "metakg-engine")
        # What takes seconds must not stand before what takes milliseconds, nor what takes hours before what takes seconds; and
        # a store that says nothing must hold up nobody but those who ask for what it holds.
        self.heavy = Pool(1, 4, "metakg-heavy")
        self.long = Pool(2, 0, "metakg-long")
        self.reading = Pool(2, 32, "metakg-store")
        self.swapping, self.backing_up = asyncio.Lock(), asyncio.Lock()

    @property
    def state(self) -> State:
        """The state that answers.

        Raises:
            Refusal: there is none yet.
        """
        state = self.live.state
        if state is None:
            raise Refusal(503, "the bundle is still being loaded", code="not_ready", retry_after_s=1)
        return state

    async def ask(self, call: Callable[[], T], *, costly: bool = False) -> T:
        """Run an engine call in the pool, within the deadline; a costly one where it stands before no quick one."""
        pool = self.heavy if costly else self.pool
        return await pool.run(call, self.limits.deadline_s)

    def stop(self) -> None:
        """End the threads that answer."""
        for pool in (self.pool, self.heavy, self.long, self.reading):
            pool.stop()

    async def keep(self, drafts: Sequence[Draft], key: str | None = None) -> Json:
        """Make events durable; return `accepted` and `duplicates`.

        Raises:
            Refusal: nothing was kept, since too much is waiting or it contradicts an earlier request; or the store does not
                answer, and nobody knows whether it kept something first.
        """
        _ = self.state  # nothing is accepted before the service knows what it has
        try:
            future = self.writer.submit(drafts, key)
        except Full as err:
            raise Refusal(503, f"too much is waiting to be written; {_NOTHING}", retry_after_s=1) from err
        try:
            outcome = await within(future, 4 * self.limits.deadline_s)
        except Busy as err:  # what had not begun was withdrawn; what had begun may still be committed
            sure = _NOTHING if future.cancelled() else _UNSURE
            raise Refusal(503, f"writing took too long; {sure}", code="busy", retry_after_s=1) from err
        except StoreError as err:
            raise Refusal(503, f"the store does not answer; {_UNSURE}", code="store_unavailable", retry_after_s=5) from err
        if not isinstance(outcome, Accepted):
            if outcome.place is None:
                raise Refusal(409, "this key was sent with another request before", field="header.idempotency-key")
            place = f"body.{outcome.place}.id"
            raise Refusal(409, f"this id was sent with another event before; {_NOTHING}", field=place)
        for event in outcome.events:
            self.metrics.event(event.kind)
        return {"accepted": outcome.accepted, "duplicates": outcome.duplicates}


def service(request: Request) -> Service:
    """Return what the routes share."""
    found: Service = request.app.state.service
    return found
