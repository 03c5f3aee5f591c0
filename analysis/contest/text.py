"""A comparison of approaches as plain text: one table, then every warning once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analysis.contest.recommended import Comparison, label, shown_exponent
from analysis.records.warning_codes import FitWarning, Severity, warning_line
from analysis.result import Fit, left_out
from harness.records.number_text import percent

HEAD = ("", "approach", "N", "a", "alpha", "beta", "E", "other", "rollout")
SHOWN = ("alpha", "beta", "E")
LEFT_OUT = {"A", "B", "K", "a", "b", "G"}  # coefficients, and exponents that have their own column


def comparison_text(found: Comparison) -> str:
    """Return the table of fits, the reason for the choice, what the table does not allow, and warnings."""
    first = found.fits[0]
    lines = [f"{first.nobs} rows, {first.n_clusters} clusters, {first.estimator} estimator"]
    lines += [f"read as: {first.read_as}"] if first.read_as else []
    lines += [*left_out(first.excluded), ""]
    rows = [_row(i, fit, i == found.recommended) for i, fit in enumerate(found.fits)]
    level = f"a [{100 * first.level:g} %]"
    lines += [*aligned([tuple(level if name == "a" else name for name in HEAD), *rows]), ""]
    lines += [f"* recommended: {found.reason}" if found.recommended is not None else found.reason]
    lines += [f"together: {found.together}"] if found.together else []
    lines += [_key(found)]
    lines += [f"- {text}" for text in found.not_possible]
    return "\n".join([*lines, *_warnings(found.fits)])


def _key(found: Comparison) -> str:
    text = "rows without interval have none that was checked"
    if any(fit.exponents.a is not None for fit in found.fits):
        text = f"a: N* grows as C^a under the FLOPs of the table; {text}"
    if any(fit.contested and fit.contested.rollout_rms is not None for fit in found.fits):
        text += "; rollout: RMS error beyond the fitted computes"
    if any(map(_blocked, found.fits)):
        text += "; !: not to be quoted, a warning of the row says why"
    return text


def _blocked(fit: Fit) -> bool:
    """Whether some number of a fit is not to be quoted."""
    return any(warning.severity == Severity.BLOCKS for warning in fit.warnings)


def _row(position: int, fit: Fit, recommended: bool) -> tuple[str, ...]:
    others = [f"{k}={v:.3g}" for k, v in fit.estimates.items() if k not in LEFT_OUT and k not in SHOWN]
    error = fit.contested.rollout_rms if fit.contested else None
    return (
        f"{position + 1}{'*' if recommended else ''}{'!' if _blocked(fit) else ''}",
        label(fit),
        fit.count,
        shown_exponent(fit),
        *(f"{fit.estimates[name]:.3f}" if name in fit.estimates else "" for name in SHOWN),
        " ".join(others),
        "" if error is None else percent(error),
    )


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows with aligned columns, without columns that are empty below their heads."""
    columns = [cells for cells in zip(*rows, strict=True) if any(cells[1:])]
    widths = [max(map(len, cells)) for cells in columns]
    for row in zip(*columns, strict=True):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _warnings(fits: Sequence[Fit]) -> Iterator[str]:
    """Yield each warning once, with the rows of the table that carry it."""
    rows: dict[FitWarning, list[int]] = {}
    for position, fit in enumerate(fits):
        for warning in fit.warnings:
            rows.setdefault(warning, []).append(position + 1)
    for warning, positions in rows.items():
        yield warning_line(warning.code, warning.message, f"row {', '.join(map(str, positions))}")
