"""How much, how often, how long."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one request and one caller may ask for.

    Attributes:
        body_bytes: largest body.
        body_s: longest time from the first to the last byte of a request's head, and again of its body.
        send_s: longest wait for a client that does not take its answer.
        deadline_s: longest time for an answer.
        rate: requests a second of one key, in the long run; 0 for no limit.
        burst: requests of one key at once.
        failures: wrong keys a second from one address, in the long run.
        threads: engine calls at the same time.
        queue: engine calls that may wait.
        connections: open connections.
        head_bytes: longest head of a request.
    """

    body_bytes: int = 1 << 20
    body_s: float = 10.0
    send_s: float = 10.0
    deadline_s: float = 5.0
    rate: float = 1000.0
    burst: int = 2000
    failures: float = 5.0
    threads: int = 1
    queue: int = 256
    connections: int = 1000
    head_bytes: int = 32 << 10


class Buckets:
    """A token bucket for each caller.

    Args:
        rate: tokens a second; 0 for no limit.
        burst: most tokens at once.
        clock: seconds; tests put their own here.
        most: callers to remember; the one longest silent is forgotten first, when its bucket would be full again anyway.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic, most: int = 10_000) -> None:
        self._rate, self._burst, self._clock, self._most = rate, burst, clock, most
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, caller: str, tokens: float = 1.0) -> float:
        """Take tokens and return 0, or take none and return the seconds until there are enough."""
        if not self._rate:
            return 0.0
        now = self._clock()
        level, then = self._levels.pop(caller, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._rate)
        enough = level >= tokens
        self._levels[caller] = (level - tokens if enough else level, now)
        if len(self._levels) > self._most:
            self._levels.popitem(last=False)
        return 0.0 if enough else (tokens - level) / self._rate
