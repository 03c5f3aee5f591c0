"""Two tables of imported runs: end points for fits, curves for forecasts of running runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arrays import Array
from analysis.tables.loss_scale import NATS, LossScale
from analysis.trackers.quantities import EVALUATION, Metrics, find_metrics
from analysis.trackers.record import ImportedRun, LeftOut
from analysis.trackers.tracked import Metric, TrackedRun, as_logged
from analysis.trackers.units import (
    Given,
    Known,
    check_names,
    find_parameters,
    find_step_tokens,
    find_total_tokens,
)
from harness.records.errors import InputError

NOISY_SHARE = 0.01  # of the last steps, over which a loss of training batches is averaged
DIVERGED = "diverged"


@dataclass(frozen=True)
class Reading:
    """How the quantities of runs are read.

    Attributes:
        loss, lr: names of metrics; found by name if None.
        tokens: metric that counts tokens, found by name if None; or the tokens of a whole run as a number or
            setting, or one for each run.
        loss_scale: unit of the loss; nats per token if None.
        params: number, setting or product of them that is N; or one for each run.
        params_from: regular expression for N in the names of the runs.
        tokens_per_step: likewise for the tokens of a step.
        end_share: share of the last steps over which the loss of an end point is averaged. By default 0 for
            evaluations, and a hundredth for losses of training batches, which are noisy.
        every: whether each logged loss is an end point, not the last of a run alone.
    """

    loss: str | None = None
    lr: str | None = None
    tokens: Given = None
    loss_scale: LossScale | None = None
    params: Given = None
    params_from: str | None = None
    tokens_per_step: Given = None
    end_share: float | None = None
    every: bool = False


@dataclass(frozen=True)
class ImportedTables:
    """Imported runs.

    Attributes:
        ends: a row an end point: run, N, D, loss in nats per token, step, and status if a run has one.
        curves: a row a logged loss or rate: run, step, n_tokens, loss, lr if there is one, N.
        metrics: metrics that were taken.
        end_share: share of the last steps that were averaged.
        runs: what was read of each run.
        left_out: runs without the loss.
    """

    ends: pd.DataFrame
    curves: pd.DataFrame
    metrics: Metrics
    end_share: float
    runs: tuple[ImportedRun, ...]
    left_out: tuple[LeftOut, ...]


def import_tables(runs: Sequence[TrackedRun], reading: Reading) -> ImportedTables:
    """Return the tables of runs.

    Raises:
        InputError: no run has the loss; sizes or tokens of a run are not known; a loss is not positive.
    """
    metrics = find_metrics(runs, reading.loss, reading.lr, reading.tokens)
    check_names(list(runs), reading.params, "params")
    check_names(list(runs), reading.tokens, "tokens")
    check_names(list(runs), reading.tokens_per_step, "tokens_per_step")
    share = reading.end_share
    if share is None:
        share = 0.0 if metrics.loss_of == EVALUATION or reading.every else NOISY_SHARE
    ends, curves, read, left_out = [], [], [], []
    for run in runs:
        curve = _losses(run, metrics.loss, reading.loss_scale)
        if curve is None:
            left_out.append(LeftOut(run.name, f"no {metrics.loss}"))
            continue
        size = find_parameters(run, reading.params, reading.params_from)
        tokens, tokens_from = _tokens(run, curve, metrics.tokens, reading)
        state = _state(run, metrics.loss)
        ends.append(_ends(run, curve, tokens, size, state, share, reading.every))
        if run.metrics:
            curves.append(_curve(run, curve, tokens, size, metrics.lr))
        read.append(
            ImportedRun(
                run.name, run.format, state, size.value, size.source, tokens_from, len(curve),
                float(curve.index[-1]), run.replaced.get(metrics.loss, 0), run.averaged,
            )
        )  # fmt: skip
    if not read:
        raise InputError(f"no run has a number for {metrics.loss!r}: name another metric", "loss")
    table = pd.concat(ends, ignore_index=True)
    if not (table["status"] != "").any():
        table = table.drop(columns="status")
    steps = pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()
    return ImportedTables(table, steps, metrics, share, tuple(read), tuple(left_out))


def _losses(run: TrackedRun, name: str, scale: LossScale | None) -> Metric[float] | None:
    """Return the finite losses of a run in nats per token; None without one."""
    if run.metrics:
        curve = run.metrics.get(name)
    else:  # Of a table with a row a run, whose step and tokens are settings too.
        number = as_logged(run.settings.get(name))
        curve = pd.Series([np.nan if number is None else number], index=[1.0])
    if curve is None:
        return None
    kept = curve[np.isfinite(curve.to_numpy())]
    if not len(kept):
        return None
    if kept.min() <= 0:
        raise InputError(
            f"run {run.name!r} has {name!r} of {kept.min():g}: expected a loss above 0, name another metric",
            "loss",
        )
    if scale is None or scale.name == NATS:
        return kept
    return pd.Series(scale.nats(np.asarray(kept, np.float64)), kept.index)


def _state(run: TrackedRun, loss: str) -> str:
    """Return how a run ended; one whose last loss is no number diverged, whatever its tracker says."""
    curve = run.metrics.get(loss)
    return DIVERGED if curve is not None and not np.isfinite(curve.iloc[-1]) else run.state


def _tokens(run: TrackedRun, curve: Metric[float], name: str | None, reading: Reading) -> tuple[Array, str]:
    """Return the tokens trained at each row of a curve [rows], and where they come from."""
    steps, given = curve.index.to_numpy(float), reading.tokens_per_step
    if run.axis == "tokens":
        return steps, "axis of the chart"
    total = find_total_tokens(run, reading.tokens) if name is None else None
    if total is not None:
        return total.value * steps / steps[-1], total.source
    if not run.metrics:
        stated = as_logged(run.settings.get(name)) if name and given is None else None
        if stated is not None and 0 < stated < np.inf:
            return np.array([stated]), f"setting {name}"
        named = (run.settings[key] for key in ("_step", "step", "Step") if key in run.settings)
        step = as_logged(next(named, None))
        if step is None or not 0 < step < np.inf:
            raise InputError(
                f"the tokens of run {run.name!r} are not known: give a number such as 2e9, one a run as in "
                f"{run.name}=2e9, the column that counts them, or a product of columns",
                "tokens",
            )
        each = find_step_tokens(run, given)
        return np.array([step * each.value]), each.source
    counted = run.metrics.get(name) if name and given is None else None
    if counted is not None and np.isfinite(counted.to_numpy()).any() and counted.max() > 0:
        counted = counted[np.isfinite(counted.to_numpy()) & (counted > 0).to_numpy()]
        return _between(counted, steps), f"metric {name}"
    each = find_step_tokens(run, given)
    return steps * each.value, each.source


def _between(counted: Metric[float], steps: Array) -> Array:
    """Return tokens at steps [rows]: between logged counts by straight lines, beyond them in proportion."""
    at, tokens = counted.index.to_numpy(float), counted.to_numpy(float)
    found = np.interp(steps, at, tokens)
    for outside, edge in ((steps < at[0], 0), (steps > at[-1], -1)):
        if outside.any() and at[edge] > 0:
            found[outside] = tokens[edge] * steps[outside] / at[edge]
    return found


def _ends(
    run: TrackedRun, curve: Metric[float], tokens: Array, size: Known, state: str, share: float, every: bool
) -> pd.DataFrame:
    """Return the end points of a run; rows before the first token are none."""
    steps, losses = curve.index.to_numpy(float), curve.to_numpy(float)
    rows = np.flatnonzero(tokens > 0) if every else np.array([len(losses) - 1])
    if not every and share > 0:
        losses = losses.copy()
        losses[-1] = losses[steps >= (1 - share) * steps[-1]].mean()
    found = {"run": run.name, "N": size.value, "D": tokens[rows], "loss": losses[rows], "step": steps[rows]}
    return pd.DataFrame(found | {"status": state})


def _curve(run: TrackedRun, curve: Metric[float], tokens: Array, size: Known, lr: str | None) -> pd.DataFrame:
    """Return the losses of a run with its rates, which may be logged at other steps."""
    table = pd.DataFrame({"loss": curve})
    rates = run.metrics.get(lr) if lr else None
    if rates is not None:
        table = table.join(rates.where(np.isfinite(rates)).dropna().rename("lr"), how="outer")
    at = table.index.to_numpy(float)
    per_step = pd.Series(tokens, curve.index)
    table.insert(0, "run", run.name)
    table.insert(1, "step", at)
    table.insert(2, "n_tokens", _between(per_step[per_step > 0], at) if (tokens > 0).any() else 0.0)
    table["N"] = size.value
    return table.reset_index(drop=True)
