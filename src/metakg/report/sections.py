"""What stands in the report, in which order, and what is missing from it. Only what was run has a section."""

from __future__ import annotations

from metakg.experiments.suite import EXPERIMENTS
from metakg.models.registry import MODELS
from metakg.report import ablation, curves, efficiency, leaderboard, leak, parameters, scalability, sensitivity
from metakg.report.blocks import Section
from metakg.report.collect import Runs


def sections(runs: Runs) -> list[Section]:
    """Return the sections that the rows of a run folder can fill, in reading order."""
    makers = (
        leaderboard.scores,
        leaderboard.gains,
        efficiency.cost,
        ablation.section,
        leak.section,
        sensitivity.shots,
        sensitivity.settings,
        efficiency.epochs,
        scalability.section,
        curves.section,
        parameters.section,
    )
    return [section for make in makers if (section := make(runs)) is not None]


def missing(runs: Runs) -> list[str]:
    """Return what was not run, and the command that runs it."""
    lacking = [f"{name}: not run (metakg experiment {name} DIR --resume)" for name in EXPERIMENTS if name not in runs.records]
    there = {row["model"] for row in runs.rows("table3", "quality")}
    models = [name for name in MODELS if name not in there]
    return [*lacking, *([f"models without a row in the leaderboard: {', '.join(models)}"] if there and models else [])]
