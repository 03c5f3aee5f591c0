"""Scaling laws from tables of losses: fits, compute-optimal frontiers, forecasts and figures.

`import analysis as sl` is the whole public API: the names of `__all__`, each loaded when it is first used. A
table is a DataFrame, the path of a table file, or what `load_table` returns. Options are keywords.

Examples:
    >>> import analysis as sl, numpy as np, pandas as pd
    >>> n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 4)))
    >>> runs = pd.DataFrame({"N": n, "D": d, "loss": 1.7 + 400 * n**-0.34 + 410 * d**-0.28})
    >>> fit = sl.fit_law(runs, "chinchilla", resamples=0)
    >>> print(f"{sl.optimal_allocation(fit, 1e21).n_opt[0]:.2g} parameters for 1e21 FLOPs")
    1.8e+09 parameters for 1e21 FLOPs
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis import plots as figures
    from analysis.approaches.envelope import fit_envelope
    from analysis.approaches.isoflop import fit_isoflop
    from analysis.approaches.kaplan import fit_kaplan
    from analysis.approaches.parametric import fit_law
    from analysis.compare.study import compare_arms
    from analysis.contest.recommended import compare_approaches
    from analysis.curves.table import forecast_curve
    from analysis.design.expected import expected_errors
    from analysis.emergence.study import judge_jumps
    from analysis.forecast.seal import score_forecast, seal_forecast
    from analysis.frontier import find_frontier, optimal_allocation
    from analysis.laws import LAWS, Law
    from analysis.records.warning_codes import FitWarning
    from analysis.replications.study import study_replications
    from analysis.result import Fit
    from analysis.study.study import study_sweep
    from analysis.tables.sweep import read_sweep
    from analysis.tables.table import LossTable, load_table
    from analysis.uncertainty.profile import profile
    from harness.records.errors import InputError

    __version__: str
else:  # Hidden from type checkers, which would take every misspelt name for one that exists.

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used (PEP 562), so that `import analysis` costs nothing."""
        if name not in __all__:
            raise AttributeError(f"module 'analysis' has no attribute {name!r}")
        found = globals()[name] = _load(name)
        return found


__all__ = [
    "LAWS",
    "Fit",
    "FitWarning",
    "InputError",
    "Law",
    "LossTable",
    "__version__",
    "compare_approaches",
    "compare_arms",
    "expected_errors",
    "figures",
    "find_frontier",
    "fit_envelope",
    "fit_isoflop",
    "fit_kaplan",
    "fit_law",
    "forecast_curve",
    "judge_jumps",
    "load_table",
    "optimal_allocation",
    "profile",
    "read_sweep",
    "score_forecast",
    "seal_forecast",
    "study_replications",
    "study_sweep",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _load(name: str) -> Any:
    """Return the object of a public name; plain imports, which readers and type checkers can follow."""
    home: Any
    match name:
        case "figures":
            from analysis import plots

            return plots
        case "__version__":
            return _version()
        case "LAWS" | "Law":
            from analysis import laws as home
        case "Fit":
            from analysis import result as home
        case "FitWarning":
            from analysis.records import warning_codes as home
        case "InputError":
            from harness.records import errors as home
        case "LossTable" | "load_table":
            from analysis.tables import table as home
        case "read_sweep":
            from analysis.tables import sweep as home
        case "fit_law":
            from analysis.approaches import parametric as home
        case "fit_isoflop":
            from analysis.approaches import isoflop as home
        case "fit_envelope":
            from analysis.approaches import envelope as home
        case "fit_kaplan":
            from analysis.approaches import kaplan as home
        case "compare_approaches":
            from analysis.contest import recommended as home
        case "compare_arms":
            from analysis.compare import study as home
        case "forecast_curve":
            from analysis.curves import table as home
        case "find_frontier" | "optimal_allocation":
            from analysis import frontier as home
        case "profile":
            from analysis.uncertainty import profile as home
        case "seal_forecast" | "score_forecast":
            from analysis.forecast import seal as home
        case "study_sweep":
            from analysis.study import study as home
        case "study_replications":
            from analysis.replications import study as home
        case "expected_errors":
            from analysis.design import expected as home
        case "judge_jumps":
            from analysis.emergence import study as home
    return getattr(home, name)


def _version() -> str:
    """Return the version of the installed package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("scaling-harness")
    except PackageNotFoundError:  # A checkout on the path that was never installed.
        return "0+unknown"
