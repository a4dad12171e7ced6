"""The C library's heap, told to keep what is freed while work repeats itself.

A training step and a ranked block allocate the same large arrays again and again. By default glibc gives each back to the
system when it is freed, and the next one is mapped anew and zeroed page by page by the kernel: up to a third of a step's time
(`python benchmarks/heap.py`). Kept, a freed array is the next one's memory. Nothing else changes: not a bit of a result, and
hardly the peak, since what is kept was in use before.
"""

from __future__ import annotations

import ctypes
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

# Numbers and defaults of <malloc.h>; a threshold that was set once no longer follows what is freed, so the ones that are left
# behind are those it would have risen to.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER, _HIGHEST_MMAP, _MAPPINGS = 2**31 - 1, 32 * 2**20, 65536

_lock = threading.Lock()
_inside = 0


@contextmanager
def kept() -> Iterator[None]:
    """Keep freed memory in the process while inside; at the end what is free goes back to the system.

    May be nested and entered from several threads: the last one out restores. Does nothing where the C library is not glibc.
    """
    global _inside
    libc = _glibc()
    with _lock:
        if libc is not None and _inside == 0:
            libc.mallopt(_MMAP_THRESHOLD, _HIGHEST_MMAP)
            libc.mallopt(_TRIM_THRESHOLD, _NEVER)
            libc.mallopt(_MMAP_MAX, 0)
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if libc is not None and _inside == 0:
                libc.mallopt(_MMAP_MAX, _MAPPINGS)
                libc.mallopt(_TRIM_THRESHOLD, 2 * _HIGHEST_MMAP)
                libc.malloc_trim(0)


@cache
def _glibc() -> Any:
    """Return the C library if it is glibc, else None."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
