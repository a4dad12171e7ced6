"""How much memory a run will take, said before it starts."""

from __future__ import annotations

from pathlib import Path

from metakg.errors import TrainingError
from metakg.models.metakg_paper_config import MetaKGConfig

_ROWS_A_TASK = 85
"""Seeds of a task: a user, some 30 support items and as many negatives, and 20 for the query."""

_SHARED = 0.65
"""Neighbours that are new to a task, as a share of those drawn: measured on Last-FM at a fan-out of 10."""


def estimate_bytes(config: MetaKGConfig, n_nodes: int, n_edges: int, n_relations: int, at_once: int) -> dict[str, int]:
    """Return the parts of the peak of meta-training in bytes, roughly, beside the data and the program themselves.

    Args:
        config: the model's settings.
        n_nodes: users and entities.
        n_edges: edges, both directions.
        n_relations: edge types, both directions.
        at_once: tasks scored together.
    """
    floats = 4
    widest = max(config.dim, *config.dims)
    parameters = n_nodes * config.dim + n_relations * config.dim * (config.dim + 1)
    # Each edge: tail, relation, pair, two numbers of the transpose, its key and three columns for the triple sampler.
    graph = n_edges * (9 * 8 + 2 * floats)
    tables = 6 * n_nodes * config.dim * floats
    rows = n_nodes // 2  # read exactly, the hubs of a graph pull in about half of it
    if config.fan_out is not None:
        rows = min(rows, int(_ROWS_A_TASK * (_SHARED * config.fan_out) ** (len(config.dims) - 1)))
    rows *= at_once
    return {
        "parameters, gradients, Adam, best copy": 5 * parameters * floats,
        "graph": graph,
        "shared tables": tables,
        "rows of the tasks": 4 * rows * widest * floats,
    }


def check_memory(parts: dict[str, int], available: int | None) -> None:
    """Refuse a run that would not fit.

    Args:
        parts: what `estimate_bytes` returned.
        available: bytes that are free; None if unknown, then nothing is refused.

    Raises:
        TrainingError: the estimate is above what is there; it names the largest part and the setting that lowers it.
    """
    total = sum(parts.values())
    if available is None or total <= available:
        return
    fixes = {
        "rows of the tasks": "Lower meta.at_once, or set fan_out (10) instead of reading all neighbours.",
        "shared tables": "Lower dim.",
        "parameters, gradients, Adam, best copy": "Lower dim.",
        "graph": "Drop relations or entities that no item needs, or train on a larger machine.",
    }
    largest = max(parts, key=lambda name: parts[name])
    raise TrainingError(
        "memory",
        f"about {total / 2**30:.1f} GB needed, the most for {largest} ({parts[largest] / 2**30:.1f} GB)",
        expected=f"at most the {available / 2**30:.1f} GB that are free",
        fix=fixes[largest],
    )


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
