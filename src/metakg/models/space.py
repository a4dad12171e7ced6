"""Where a search may look: ranges and choices that stand beside the settings they belong to (see `metakg tune`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = str | int | float | bool | tuple[int, ...] | None


@dataclass(frozen=True)
class Span:
    """Numbers from `low` to `high`, both included; `log` searches magnitudes, `whole` integers."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    options: tuple[Value, ...]


Space: TypeAlias = Mapping[str, Span | Choice]
"""Setting (`name`, or `group.name`) -> where to look."""
