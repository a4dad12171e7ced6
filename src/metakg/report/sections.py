"""What stands in the report, in which order. Only what was run has a section."""

from __future__ import annotations

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
