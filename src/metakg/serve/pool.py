"""Few threads for the engine, a bounded queue before them, and a deadline for whoever waits.

The event loop must stay free: it is what turns slow clients away. A call that has begun cannot be stopped, so its place stays
taken until it ends, and what cannot be begun in time is never begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Busy(Exception):  # noqa: N818 - not an error: come back in a moment
    """The queue is full, or the answer took too long.

    Attributes:
        reason: in a few words.
        retry_after_s: when to come back.
    """

    def __init__(self, reason: str, retry_after_s: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Pool:
    """Threads with a bounded queue.

    Args:
        threads: calls at the same time.
        queue: calls that may wait.
        name: of the threads.
    """

    def __init__(self, threads: int, queue: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._room = threads + queue
        self.taken = 0
        """Calls that run or wait."""

    async def run(self, call: Callable[[], T], deadline_s: float) -> T:
        """Return what a call returns.

        Raises:
            Busy: there was no room, or no answer in time.
        """
        if self.taken >= self._room:
            raise Busy("too many requests are waiting")
        self.taken += 1
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        work = self._executor.submit(call)
        work.add_done_callback(lambda done: self._left(loop, done, answer))
        late = loop.call_later(deadline_s, _give_up, answer)
        try:
            return await answer
        finally:
            late.cancel()
            work.cancel()  # what has not begun is not begun

    def _left(self, loop: asyncio.AbstractEventLoop, done: Future[T], answer: asyncio.Future[T]) -> None:
        # one call, since each wakes the loop; a loop that has ended asks for no more answers
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._hand_over, done, answer)

    def _hand_over(self, done: Future[T], answer: asyncio.Future[T]) -> None:
        self.taken -= 1
        if answer.done() or done.cancelled():  # nobody waits for it any more
            return
        error = done.exception()
        if error is None:
            answer.set_result(done.result())
        else:
            answer.set_exception(error)

    def stop(self) -> None:
        """End the threads; what has not begun is dropped."""
        self._executor.shutdown(wait=True, cancel_futures=True)


def _give_up(answer: asyncio.Future[T]) -> None:
    if not answer.done():
        answer.set_exception(Busy("the answer took too long"))


async def within(future: Future[T], deadline_s: float) -> T:
    """Return a future's result; after the deadline it is cancelled if it has not begun.

    Raises:
        Busy: there was no result in time.
    """
    try:
        return await asyncio.wait_for(asyncio.wrap_future(future), deadline_s)
    except TimeoutError as err:
        raise Busy("the answer took too long") from err
