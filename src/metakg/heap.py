"""Memory: how much can be had, and the C library's heap, told to keep what is freed while work repeats itself.

A training step and a ranked block allocate the same large arrays again and again. By default glibc gives each back to the
system when it is freed, and the next one is mapped anew and zeroed page by page by the kernel: a fifth of a step of kgat on
Last-FM (`python benchmarks/heap.py`). Kept, a freed array is the next one's memory, and not a bit of a result changes. Arrays
above 32 MB are kept only where memory is plentiful, since a gap between two of them may fit no third, which raises the peak.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

# Numbers and defaults of <malloc.h>; a threshold that was set once no longer follows what is freed, so the ones that are left
# behind are those it would have risen to.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER, _HIGHEST_MMAP, _MAPPINGS = 2**31 - 1, 32 * 2**20, 65536
_PLENTY = 8
"""Memory is plentiful where so many times of what the process holds is free."""

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
            if _plenty():
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


def _plenty() -> bool:
    free = available_bytes()
    return free is not None and free > _PLENTY * resident_bytes()


@cache
def _glibc() -> Any:
    """Return the C library if it is glibc, else None."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def peak_bytes() -> int:
    """Return the most resident memory this process has had.

    Not `ru_maxrss` where it can be avoided: on Linux it starts from the parent's memory at the fork, even in a new program.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (peak,) = (line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident_bytes(pid: int | str = "self") -> int:
    """Return the resident memory of a process; 0 where the system does not say."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:  # noqa: PTH123 - read at every scrape; a Path would be slower
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def available_bytes() -> int | None:
    """Return how much memory can still be had, the control group's limit considered; None where the system does not say."""
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = meminfo.read_text(encoding="ascii").splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists():
        text = limit.read_text(encoding="ascii").strip()
        if text != "max":
            found.append(int(text) - int(used.read_text(encoding="ascii")))
    return min(found) if found else None
