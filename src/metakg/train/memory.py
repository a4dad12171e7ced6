"""How much memory a run will take, said before it starts."""

from __future__ import annotations

from metakg.data import TrainView
from metakg.errors import TrainingError
from metakg.models.metakg import MetaKG
from metakg.models.metakg_paper_config import MetaKGConfig

_SEEDS_A_TASK = 85
"""Seeds of a task: a user, some 30 support items and as many negatives, and 20 for the query."""

_SHARED = 0.65
"""Neighbours that are new to a task, as a share of those drawn: measured on Last-FM at a fan-out of 10."""

_REACH = 1.2
"""Rows that are new to a task, for each of its rows and mean neighbours, where all neighbours are read: measured likewise."""

_BYTES_AN_EDGE = 170
"""Tails, relations, pairs and transpose of an edge, its attention and running sum, and its columns and keys in the sampler of
triples; and what building all that leaves behind. Measured, as are the two below: see `estimate_bytes`."""

_SAMPLED_COPIES, _EXACT_COPIES = 16, 6
"""Arrays as long as a task's rows of the first layer that live at the worst moment: layers, messages, their gradients. Read
exactly, edges outnumber rows, so they are summed by sorting and no message is laid down for each."""


def estimate_bytes(config: MetaKGConfig, n_nodes: int, n_edges: int, n_relations: int, at_once: int) -> dict[str, int]:
    """Return the parts of the peak of meta-training in bytes, roughly, beside the data and the program themselves.

    Calibrated on measured peaks of Last-FM and of drawn graphs (`benchmarks/metakg_model.py`, `pass` and `scale`, which print
    both); a test holds it to them.

    Args:
        config: the model's settings.
        n_nodes: users and entities.
        n_edges: edges, both directions.
        n_relations: edge types, both directions.
        at_once: tasks scored, or learnt from, together.
    """
    floats = 4
    widest = max(config.dim, *config.dims)
    parameters = n_nodes * config.dim + n_relations * config.dim * (config.dim + 1)
    tracked = config.outer == "joint"  # then the tables have gradients, and so have the steps that lead to them
    tables = (16 if tracked else 6) * n_nodes * config.dim * floats
    # Hubs are not laid down, so what a task reads grows with the mean number of neighbours.
    grow, copies = (
        (_SHARED * config.fan_out, _SAMPLED_COPIES) if config.fan_out else (_REACH * n_edges / n_nodes, _EXACT_COPIES)
    )
    rows = min(int(0.7 * n_nodes), int(_SEEDS_A_TASK * grow ** (len(config.dims) - 1)))
    return {
        "parameters, gradients, Adam, best copy": 5 * parameters * floats,
        "graph": n_edges * _BYTES_AN_EDGE,
        "shared tables": tables,
        "rows of the tasks": copies * rows * at_once * widest * floats,
    }


def estimate_practice_bytes(model: MetaKG, tasks_each: int, worlds: int, situations: int) -> dict[str, int]:
    """Return the parts of the peak of `metakg`'s practice in bytes, roughly.

    Its tasks count twice (apart, then joined), in half precision; then the evidence of the view and of one world.

    Args:
        model: as built from its view.
        tasks_each: tasks of a situation in a world, at most.
        worlds: worlds, the one to stop by included.
        situations: kinds of tasks in a world.
    """
    config = model.config
    n_tasks = worlds * situations * min(tasks_each, model.view.n_users)
    return {
        "practice tasks": 2 * 2 * n_tasks * (config.candidates + config.own_items) * model.evidence.n_features,
        "evidence": 2 * 8 * model.evidence.factors.nnz,
    }


def graph_sizes(view: TrainView) -> tuple[int, int, int]:
    """Return nodes, edges at most, and edge types of the graph that a view will become, without building it."""
    facts = len(view.interactions) + len(view.graph.entity) + len(view.graph.user)
    return view.n_users + view.n_entities, 2 * facts, 2 * view.n_relations + 2


def check_memory(parts: dict[str, int], available: int | None) -> None:
    """Refuse a run that would not fit.

    Args:
        parts: what `estimate_bytes` or `estimate_practice_bytes` returned.
        available: bytes that are free; None if unknown, then nothing is refused.

    Raises:
        TrainingError: the estimate is above what is there; it names the largest part and the setting that lowers it.
    """
    total = sum(parts.values())
    if available is None or total <= available:
        return
    fixes = {
        "rows of the tasks": "Lower training.meta.tasks and .at_once, or set fan_out=10 instead of reading all neighbours.",
        "shared tables": "Lower dim.",
        "parameters, gradients, Adam, best copy": "Lower dim.",
        "graph": "Drop relations or entities that no item needs, or train on a larger machine.",
        "practice tasks": "Lower training.tasks_each, training.worlds or candidates.",
        "evidence": "Lower max_items, above which what joins items joins nothing.",
    }
    largest = max(parts, key=lambda name: parts[name])
    raise TrainingError(
        "memory",
        f"about {total / 2**30:.1f} GB needed, the most for {largest} ({parts[largest] / 2**30:.1f} GB)",
        expected=f"at most the {available / 2**30:.1f} GB that are free",
        fix=fixes[largest],
    )
