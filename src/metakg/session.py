"""When, where, with what and by which command results were made; it stands beside them."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path


def today() -> str:
    """Return the date, as ISO 8601."""
    return time.strftime("%Y-%m-%d")


def invocation(otherwise: str) -> str:
    """Return the command line that this process runs; `otherwise` where somebody's own program called."""
    program = Path(sys.argv[0])
    ours = program.name in ("metakg", "metakg.exe") or program.parts[-2:] == ("metakg", "__main__.py")
    return shlex.join(["metakg", *sys.argv[1:]]) if ours else otherwise


def machine() -> str:
    """Return cores and memory, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GB, CPU"


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of metakg, of these packages and of Python."""
    return {name: version(name) for name in ("metakg", *packages)} | {"python": platform.python_version()}
