"""All experiments by name, and the one function that runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from metakg.errors import ConfigError
from metakg.experiments import ablation, efficiency, leak, parameters, scalability, sensitivity, table3
from metakg.experiments.lab import Lab, claim, journals, session
from metakg.experiments.runner import Bar, Report, Unit, run
from metakg.types import Json

EXPERIMENTS: Mapping[str, Callable[[Lab], list[Unit]]] = {
    "table3": table3.units,
    "ablation": ablation.units,
    "efficiency": efficiency.units,
    "scalability": scalability.units,
    "sensitivity": sensitivity.units,
    "leak": leak.units,
    "parameters": parameters.units,
}
"""Name -> what its units are, in the order of the report."""


def chosen(names: str) -> list[str]:
    """Return experiment names from "a,b" or "all".

    Raises:
        ConfigError: a name is unknown.
    """
    asked = list(EXPERIMENTS) if names == "all" else [name.strip() for name in names.split(",")]
    for name in asked:
        if name not in EXPERIMENTS:
            known = ", ".join(EXPERIMENTS)
            raise ConfigError("experiment", repr(name), expected=f"one of {known}, or all", fix="Check the spelling.")
    return list(dict.fromkeys(asked))


def experiment(
    lab: Lab, names: Sequence[str], *, about: Json, resume: bool = False, budget_s: float | None = None, bar: Bar | None = None
) -> tuple[Report, list[str]]:
    """Run experiments into a lab's folder.

    Args:
        lab: what they work on.
        names: which.
        about: what the folder's manifest should say beside the identity.
        resume: go on in rows that are there; without it, they are refused.
        budget_s: seconds; what does not fit is cut (see `runner`).
        bar: shows how far it is.

    Returns:
        how it went, and what was mended in the rows files.

    Raises:
        ConfigError: a setting is unknown.
        DataError: the folder belongs to other data, or its rows are damaged, of other settings, or cannot be written.
    """
    units = [unit for name in names for unit in EXPERIMENTS[name](lab)]
    claim(lab.folder, lab.identity, about, lab.k)
    opened = journals(lab, names, resume=resume)
    try:
        mended = [
            f"{journal.path}: cut off {journal.torn:,} bytes of a unit that a kill had torn; it runs again"
            for journal in opened.values()
            if journal.torn
        ]
        for unit in units:  # rows of other settings are refused before anything is written
            opened[unit.experiment].find(unit.name, unit.rule)
        start = session()
        for journal in opened.values():
            journal.begin(start)
        return run(units, opened, budget_s=budget_s, bar=bar), mended
    finally:
        for journal in opened.values():
            journal.close()
