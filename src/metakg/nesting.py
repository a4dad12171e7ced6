"""Nested groups of settings: laid over one another, set and asked for by dotted name ("training.loop.epochs")."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line merges settings before it loads numpy
    from metakg.types import Json


def merged(below: Json, above: Json) -> Json:
    """Return two nested groups of settings as one; `above` wins."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def nested(values: Mapping[str, Any], below: Json) -> Json:
    """Return nested settings with some set by dotted name."""
    result: Json = copy.deepcopy(below)
    for name, value in values.items():
        *path, last = name.split(".")
        place = result
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return result


def is_set(settings: Json, name: str) -> bool:
    """Say whether nested settings hold a dotted name."""
    for part in name.split("."):
        if not isinstance(settings, dict) or part not in settings:
            return False
        settings = settings[part]
    return True


def flat(settings: Json) -> dict[str, Any]:
    """Return nested settings by dotted name; an empty group is a value."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        below = flat(value) if isinstance(value, dict) and value else None
        found |= {key: value} if below is None else {f"{key}.{name}": inner for name, inner in below.items()}
    return found
