"""How much hangs on a setting: local updates (paper, Fig. 6), support size and shots (Fig. 7), embedding size (Fig. 8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from metakg.experiments.lab import OURS, Lab
from metakg.experiments.rows import key_of
from metakg.experiments.runner import Desk, Kind, Unit
from metakg.models.registry import FLOORS
from metakg.types import Json

SHOTS = (0, 1, 2, 5, 10, 20, 40, 80)
"""Revealed support pairs: k-shot curves up to 10, support sizes from 5 on."""

UPDATES = (0, 1, 2, 3, 4, 5)
WIDTHS = (16, 32, 64, 128)

Change = Callable[[int], Json]

STUDIES: Mapping[str, Mapping[str, tuple[tuple[int, ...], Change]]] = {
    "local updates": {
        "metakg": (UPDATES, lambda n: {"inner_steps": n}),
        "metakg-paper": (UPDATES, lambda n: {"inner_steps": n}),
    },
    "embedding size": {
        "metakg": (WIDTHS, lambda d: {"hidden": d}),
        "metakg-paper": (WIDTHS, lambda d: {"dim": d, "dims": [d, d, d]}),
        "kgat": (WIDTHS, lambda d: {"dim": d}),
        "cke": (WIDTHS, lambda d: {"dim": d}),
    },
}
"""Study -> model -> the values tried, and the settings a value stands for. For `metakg` the size is the width of its network:
it has no embeddings."""


def units(lab: Lab) -> list[Unit]:
    """Return units for each model's shots, and for each value of each study."""
    return [unit for number, seed in enumerate(lab.seeds) for unit in _units_of(lab, seed, first=number == 0)]


def _units_of(lab: Lab, seed: int, *, first: bool) -> Iterator[Unit]:
    for model in lab.models:
        if seed in lab.seeds_of(model):
            rule = lab.rule(model, seed, experiment="sensitivity", study="shots", shots=list(SHOTS))
            name = f"shots, {model}" + ("" if rule["seed"] is None else f", seed {seed}")
            work = partial(_shots, lab=lab, model=model, seed=seed, rule=rule)
            tier: Kind = "seeds" if not first else "essential" if model in (*FLOORS, *OURS) else "trials"
            yield Unit("sensitivity", name, rule, work, tier, like=f"shots/{model}")
    for study, models in STUDIES.items():
        for model, (values, change) in models.items():
            for value in values if model in lab.models else ():
                rule = lab.rule(model, seed, change(value), experiment="sensitivity", study=study, value=value)
                work = partial(_value, lab=lab, model=model, seed=seed, rule=rule, changes=change(value))
                name = f"{study} {value}, {model}, seed {seed}"
                weight = max(value, 1) / values[-1] if study == "local updates" else 1.0
                tier = "trials" if first else "seeds"
                yield Unit("sensitivity", name, rule, work, tier, like=f"{study}/{model}", weight=weight)


def _shots(desk: Desk, lab: Lab, model: str, seed: int, rule: Json) -> list[Json]:
    fitted, _, cost = lab.fit(desk, model, seed, key_of(rule))
    rows: list[Json] = []
    for scenario in lab.split.scenarios:
        for number in SHOTS if len(lab.split.scenarios[scenario].support) else (None,):
            desk.tell(f"{scenario} at {number} shots")
            found, _ = lab.judge(fitted, model, seed, shots=[number], scenarios=[scenario])
            rows += [{**row, "study": "shots"} for row in found]
    return [*rows, {"what": "cost", "model": model, "seed": rule["seed"], "study": "shots", **cost}]


def _value(desk: Desk, lab: Lab, model: str, seed: int, rule: Json, changes: Json) -> list[Json]:
    fitted, _, cost = lab.fit(desk, model, seed, key_of(rule), changes)
    desk.tell("judging")
    rows, times = lab.judge(fitted, model, seed)
    about = {"study": rule["study"], "value": rule["value"]}
    return [*({**row, **about} for row in rows), {"what": "cost", "model": model, "seed": seed, **about, **cost, **times}]
