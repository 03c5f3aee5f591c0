"""Figures of tables and results, `sl.figures`: each function returns a Matplotlib figure.

Results go in as they are returned: fits, frontiers, profiles, loss tables, or rows of fits.json. At the end
of a notebook cell a figure shows itself; `figure.savefig(path)` writes it.
"""

from analysis.plots.arms import multipliers
from analysis.plots.curves import ends
from analysis.plots.emergence import emergence, emergence_overview
from analysis.plots.frontier import contours, frontier, frontiers, overview
from analysis.plots.in_context import in_context
from analysis.plots.isoflop import isoflop
from analysis.plots.law_tests import forecast_against_truth, residuals, rollout
from analysis.plots.learning_rate import learning_rate
from analysis.plots.replications import (
    replication_errors,
    replication_intervals,
    replication_parameters,
)
from analysis.plots.runs import loss_against_compute, loss_curves
from analysis.plots.sources import loss_by_source, loss_by_source_and_tokens
from analysis.plots.style import SINGLE, slug, to_svg, write_images
from analysis.plots.uncertainty import cloud, counting, profiles

__all__ = [
    "SINGLE",
    "cloud",
    "contours",
    "counting",
    "emergence",
    "emergence_overview",
    "ends",
    "forecast_against_truth",
    "frontier",
    "frontiers",
    "in_context",
    "isoflop",
    "learning_rate",
    "loss_against_compute",
    "loss_by_source",
    "loss_by_source_and_tokens",
    "loss_curves",
    "multipliers",
    "overview",
    "profiles",
    "replication_errors",
    "replication_intervals",
    "replication_parameters",
    "residuals",
    "rollout",
    "slug",
    "to_svg",
    "write_images",
]
