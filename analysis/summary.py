"""`python -m analysis.summary results/<sweep> …`: the key numbers of sweeps as a Markdown table.

README quotes this output, and a test compares the two.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from analysis.averaging.quantities import weights_text
from analysis.intervals import normal_interval
from analysis.laws import family
from analysis.records.averages import AveragedQuantity, AveragedRecord, ContestRow
from analysis.records.fit import ExponentsRecord, FitRecord
from analysis.records.fits import JackknifeRow, ReferenceRow, StudyRecord, read_study
from analysis.records.forecast import LoserScore, ScoreRecord
from harness.records.columns import checked_points
from harness.records.command_line import CommandParser
from harness.records.errors import InputError
from harness.records.files import read_table
from harness.records.number_text import (
    DASH,
    duration,
    estimate,
    given,
    in_percent,
    number,
    percent,
    si,
    together,
)
from harness.records.paths import SweepFolder
from harness.records.sweep_file import SweepRecord, read_sweep

LAW_PARAMS = ("alpha", "beta", "gamma")
SEALED = "sealed forecast over the laws"


def key_numbers(folder: SweepFolder) -> dict[str, str]:
    """Return {row label: text} of one sweep; raise InputError if one of its files is missing."""
    for path in (folder.fits, folder.sweep, folder.points):
        if not path.exists():
            raise InputError(f"{path} was expected and is not there; run the sweep first or give its folder")
    study = read_study(folder.fits)
    sweep = read_sweep(folder.sweep)
    fit, primary = study.quoted, study.primary
    if fit is None or primary is None:
        raise InputError(
            f"{folder.root} holds no law fits (a learning-rate grid?); give the folder of another grid"
        )
    likeliest = study.likeliest_fit or fit
    return {
        "machine": f"{sweep.provenance.cores} cores, {sweep.provenance.machine}",
        "wall-clock": _wall_clock(sweep),
        "end points": _runs(folder.points),
        "likeliest law, N": f"{family(likeliest.law)}, `{likeliest.count}`",
        **{name: _param(likeliest, name) for name in LAW_PARAMS if name in likeliest.params},
        "laws by weight": _weights(study.average(AveragedQuantity.E)),
        "E over the laws": over_laws(study.average(AveragedQuantity.E)),
        "a under 6ND": _exponent(fit.frontier, study.average(AveragedQuantity.A_SIX_ND)),
        "a under exact FLOPs": _exponent(fit.frontier_exact, study.average(AveragedQuantity.A_EXACT)),
        "a under 6ND, leaving one size out at a time": _left_out(study.jackknife.a, primary.law),
        "laws by weight for the forecast": _forecast_weights(study.contest),
        **_forecast(study.forecast, primary.law),
        **_other_forecasts(study),
        "trunk + branch minus tuned cosine, nats": _references(study.reference),
        "seed noise": percent(study.noise.pooled_relative),
    }


def _wall_clock(sweep: SweepRecord) -> str:
    total = sweep.seconds_total
    return duration(total) if total else f"{duration(sweep.seconds)} of training"


def _runs(path: Path) -> str:
    points = checked_points(read_table(path), path)
    done = points[(points.status == "done") & points.role.isin(["fit", "holdout"])]
    if done.empty:
        raise InputError(f"{path} has no finished point: run the sweep to its end first")
    best = done.sort_values("loss").iloc[0]
    holdout = int((done.role == "holdout").sum())
    cells, sizes = len(done.drop_duplicates(["rung", "n_tokens"])), done.rung.nunique()
    in_bits = f" = {best.bits_per_byte:.3f} bits per byte" if given(best.bits_per_byte) else ""
    return (
        f"{len(done)} end points in {cells} cells of {sizes} sizes, {holdout} end points held out; "
        f"lowest loss {best.loss:.3f} nats per token"
        f"{in_bits}"
    )


def _param(fit: FitRecord, name: str) -> str:
    return estimate(fit.params[name], fit.interval.get(name))


def _exponent(found: ExponentsRecord | None, average: AveragedRecord | None) -> str:
    """Return the exponent over the laws; that of the chosen law if there is no average."""
    if average:
        return over_laws(average)
    return estimate(found.a, found.a_interval) if found else DASH


def over_laws(found: AveragedRecord | None) -> str:
    """Return a quantity over the laws, without a single value if they disagree."""
    if found is None:
        return DASH
    ends = (found.low, found.high)
    if found.agree:
        return estimate(found.value, ends)
    return f"not identified: {together(found.value, ends)[1]}"


def _weights(found: AveragedRecord | None) -> str:
    """Return the laws behind a quantity, by falling weight."""
    return _weighed([(share.law, share.weight) for share in found.laws] if found else [])


def _forecast_weights(contest: Sequence[ContestRow]) -> str:
    """Return the laws of the forecast, which rests on the fitted runs alone, by falling weight."""
    found = [(row.law, row.weight) for row in contest if row.weight is not None]
    return _weighed(sorted(found, key=lambda each: -each[1]))


def _weighed(laws: Iterable[tuple[str, float]]) -> str:
    """Return the laws that have a say, each with its weight."""
    return weights_text(laws) or DASH


def _left_out(rows: Sequence[JackknifeRow], law: str) -> str:
    """Return the least and the largest exponent of a law without one size."""
    values = [row.a for row in rows]
    return f"{number(min(values))} to {number(max(values))} ({family(law)})" if len(values) > 1 else DASH


def _references(cells: Sequence[ReferenceRow]) -> str:
    """Return the difference with its interval at every cell that has cosine runs."""
    shown = [
        f"{estimate(cell.difference, normal_interval(cell.difference, cell.se))} "
        f"({cell.rung}, D = {si(cell.n_tokens)})"
        for cell in cells
    ]
    return "; ".join(shown) or DASH


def _forecast(score: ScoreRecord | None, law: str) -> dict[str, str]:
    if not score:
        return {SEALED: "none"}
    if not score.averaged:
        # Sealed before forecasts were averaged.
        rows = {SEALED: f"none, that of {family(law)} was sealed", _alone(law): _errors(score)}
    else:
        rows = {SEALED: f"{_errors(score)}; interval score {in_percent(score.interval_score)}"}
    return rows | {_alone(loser.law): _errors(loser) for loser in score.losers}


def _alone(law: str) -> str:
    return f"forecast of {family(law)} alone"


def _other_forecasts(study: StudyRecord) -> dict[str, str]:
    """Return a row for each sealed forecast that the study does not quote."""
    return {
        f"forecast sealed {score.created}, {family(score.law)}": f"{_errors(score)}, {_finished(score)}"
        for score in study.scores
        if score != study.forecast
    }


def _finished(score: ScoreRecord) -> str:
    n = len(score.cells)
    return f"{n} of {n + len(score.missing)} cells finished"


def _errors(score: ScoreRecord | LoserScore) -> str:
    far = f"{in_percent(score.rms_percent_10x)} at ≥ 10×, " if given(score.rms_percent_10x) else ""
    if isinstance(score, ScoreRecord) and given(score.rms_percent_20x):
        far += f"{in_percent(score.rms_percent_20x)} at ≥ 20×, "
    return f"{in_percent(score.rms_percent)} RMS, {far}{percent(score.inside_share, 0)} inside"


def markdown(folders: Sequence[SweepFolder]) -> str:
    """Return the table, one column a sweep."""
    columns = [key_numbers(folder) for folder in folders]
    labels: list[str] = []
    for column in columns:
        at = 0
        for label in column:
            if label not in labels:
                labels.insert(at, label)
            at = labels.index(label) + 1
    lines = ["| | " + " | ".join(f"`{folder.root.as_posix()}`" for folder in folders) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    lines += [
        f"| {label} | " + " | ".join(column.get(label, DASH) for column in columns) + " |" for label in labels
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = CommandParser(
        "analysis.summary",
        "Print the key numbers of sweeps as a Markdown table, one column a sweep.",
        "python -m analysis.summary results/chinchilla results/chinchilla-standard",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="folder", help="folder of a finished sweep")
    return parser.answer(arguments, lambda found: print(markdown([*map(SweepFolder, found.folders)])))


if __name__ == "__main__":
    sys.exit(main())
