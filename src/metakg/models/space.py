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

    def holds(self, value: object) -> bool:
        """Say whether a value lies in the range."""
        number = isinstance(value, int) or (isinstance(value, float) and not self.whole)
        return number and not isinstance(value, bool) and self.low <= value <= self.high  # type: ignore[operator]

    def __str__(self) -> str:
        return f"{'a whole number' if self.whole else 'a number'} from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    options: tuple[Value, ...]

    def holds(self, value: object) -> bool:
        """Say whether a value is among the choices; a list counts as the tuple of its members."""
        return (tuple(value) if isinstance(value, list) else value) in self.options

    def __str__(self) -> str:
        return f"one of {', '.join(map(repr, self.options))}"


Space: TypeAlias = Mapping[str, Span | Choice]
"""Setting (`name`, or `group.name`) -> where to look."""
