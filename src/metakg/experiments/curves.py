"""Learning curves out of training logs, thinned so that rows stay small."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metakg.types import Json

POINTS = 60
"""Points kept of a curve, at most; first and last always."""


def collect(folder: Path) -> list[Json]:
    """Return one curve for each log under a folder: {phase, steps, loss, at, score}.

    `loss` is the sum of the named losses; `score` are the results on the validation scenario after the steps `at`.
    """
    found = []
    for path in sorted(folder.rglob("log.jsonl")):
        steps, losses, at, scores = [], [], [], []
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if record["event"] == "step":
                steps.append(record["step"])
                losses.append(sum(value for name, value in record["losses"].items() if name != "grad_norm"))
            elif record["event"] == "validation":
                at.append(record["step"])
                scores.append(record["score"])
        if not steps:
            continue
        phase = path.parent.relative_to(folder).as_posix()
        curve: Json = {"phase": "training" if phase == "." else phase}
        curve["steps"], curve["loss"] = thin(steps), [round(v, 5) for v in thin(losses)]
        curve["at"], curve["score"] = thin(at), [round(v, 5) for v in thin(scores)]
        found.append(curve)
    return found


def thin(values: Sequence[float]) -> list[float]:
    """Return at most `POINTS` of the values, evenly spread, the first and the last among them."""
    if len(values) <= POINTS:
        return list(values)
    return [values[i] for i in np.linspace(0, len(values) - 1, POINTS).round().astype(int)]
