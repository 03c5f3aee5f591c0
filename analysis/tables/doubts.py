"""Doubts that the columns of a foreign table raise: another scale, a training log, untuned cells."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.arrays import Array, Codes, groups
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.tables.columns import Columns, cell_axes, cells_of
from analysis.tables.loss_scale import LEAST_D, LEAST_N, NATS, SCALES, LossScale, usual_loss
from harness.records.errors import InputError

PERPLEXITY = {"ppl", "perplexity", "perplexities", "valppl", "testppl"}
SCORES = {"acc", "accuracy", "accuracies", "bleu", "rouge", "f1", "auc", "winrate"}
BITS = {"bpb", "bpc", "bpt", "bits"}
LOSSES = {"loss", "losses", "nll", "ce", "entropy", "xent", "nats", "log", "ln", "error", "err"}
MAX_LOSS = 12.5  # nats per token: the uniform guess over 270,000 tokens, more than vocabularies have
HIGH_LOSS = 6.5  # nats per token; models that were trained end below, small ones with large vocabularies too
LOW_LOSS = 1.0  # nats per token; models of bytes end below it, others do not
FEW_ROWS = 4  # fewer rise by chance
# Over `usual_loss`: bits per byte lie below, bits per token above.
LOW_RATIO, HIGH_RATIO = 0.4, 1.4
STATE = f"state its scale, even if it is nats (loss_is: {SCALES})"
LIMIT_SLACK = 0.01  # above the uniform guess over the vocabulary, by chance
RISING = 0.5  # rank correlation of loss and compute

MIN_LOGGED = 12  # token counts of one size that make a raster
SAME_STEP = 0.01  # relative difference of equal steps
ROUNDING = 2.0  # tokens
MOST = 0.5  # share of rows that speak for a training log
RUN_NAMES = {"run", "runid", "runname", "runs", "trial", "job", "jobid"}

MIN_SD = 0.002  # relative, within cells; below it rows differ as seeds do
EXPLAINED = 0.5  # share of the spread that a column must explain, unless its name is that of a setting
REPLICATES = {"seed", "seeds", "replicate", "replica", "rep", "repeat", "restart", "trial", "run", "id"}
SETTINGS = {
    "arch", "architecture", "aspect", "batch", "beta1", "beta2", "bs", "bsz", "clip", "corpus", "data",
    "dataset", "decay", "depth", "dropout", "epochs", "heads", "init", "layers", "learning", "lr",
    "momentum", "mup", "optim", "optimiser", "optimizer", "precision", "rate", "schedule", "scheduler",
    "tokenizer", "warmup", "wd", "width",
}  # fmt: skip


def words_of(name: str) -> set[str]:
    """Return the words of a column's name.

    >>> sorted(words_of("val/PPL_avg")), sorted(words_of("learningRate"))
    (['avg', 'ppl', 'val'], ['learning', 'rate'])
    """
    return set(re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold()))


def check_scale_by_name(columns: Columns) -> None:
    """Refuse a column whose name says that it holds no loss.

    Raises:
        InputError: perplexities or scores by name.
    """
    name = columns.names.get("loss", "")
    words = words_of(name)
    if words & LOSSES:
        return
    if words & PERPLEXITY:
        raise InputError(
            f"{name!r} holds perplexities by its name, and the loss is in nats per token: map {name!r} to "
            "perplexity, or state the scale of the loss as perplexity, and its logarithm is taken",
            "mapping",
            "loss_is",
        )
    if words & SCORES or {"exact", "match"} <= words:
        raise InputError(
            f"{name!r} holds a score by its name: expected a loss in nats per token, map another column, or "
            "state the scale of the loss as nats if it is one",
            "mapping",
            "loss_is",
        )


def reading_doubts(
    frame: pd.DataFrame,
    columns: Columns,
    n: Array,
    d: Array,
    c: Array,
    loss: Array,
    vocab: Array | None,
    absent: str,
    stated: LossScale | None = None,
) -> tuple[FitWarning, ...]:
    """Return the doubts about the rows to fit.

    Args:
        frame: these rows with all columns.
        columns: columns by quantity.
        n, d, c: parameters, tokens and FLOPs [rows].
        loss: losses [rows], nats per token.
        vocab: size of the vocabulary [rows]; None if the table does not have it.
        absent: axes out of n, d and c that the table does not have.
        stated: scale in which the column of the loss is, if somebody said so.
    """
    axis = c if "c" not in absent else n if "n" not in absent else d
    doubted = (
        *(_bits(columns) if stated is None else ()),
        *(_levels(loss, vocab) if stated is None or stated.name != NATS else ()),
    )
    unusual = not (doubted or absent or (stated and stated.name == NATS))
    scale = (
        *doubted,
        *(_unusual(n, d, loss) if unusual else ()),
        *_rising("compute" if "c" not in absent else "size" if "n" not in absent else "tokens", axis, loss),
    )
    if columns.own:
        return scale if columns.names.get("loss") != "loss" else ()
    cell = cells_of(n, d, c, absent)
    return (
        *scale,
        *_training_log(frame, columns, n, d),
        *_untuned(frame, columns, cell, loss, absent),
    )


def _bits(columns: Columns) -> Iterator[FitWarning]:
    name = columns.names.get("loss", "")
    if words_of(name) & BITS:
        text = (
            f"{name!r} is in bits by its name, not in nats per token: exponents stay the same, and "
            f"E, A, B and predictions are in its unit; {STATE}"
        )
        yield FitWarning(WarningCode.LOSS_SCALE, text)


def _levels(loss: Array, vocab: Array | None) -> Iterator[FitWarning]:
    """Warn of losses that models of language do not have in nats per token."""
    size = 0.0 if vocab is None or not np.all(np.isfinite(vocab)) else float(vocab.max())
    limit = float(np.log(size)) * (1 + LIMIT_SLACK) if size > 1 else MAX_LOSS
    above = int((loss > limit).sum())
    text = ""
    if above:
        guess = "the uniform guess over the vocabulary" if size > 1 else "what any vocabulary explains"
        text = (
            f"{above} of {len(loss)} losses lie above {limit:.3g} nats per token, {guess}; the largest is "
            f"{loss.max():.4g}: rows from the beginning of training, or another scale, such as a perplexity "
            "or a sum over tokens"
        )
    elif size <= 1 and np.median(loss) > HIGH_LOSS:
        text = (
            f"half of the losses lie above {np.median(loss):.3g} nats per token, where trained models "
            "seldom end: they may be perplexities"
        )
    elif loss.max() < LOW_LOSS:
        text = f"no loss lies above {loss.max():.3g} nats per token, as with error rates or bits per byte"
    if text:
        yield FitWarning(WarningCode.LOSS_SCALE, f"{text}; {STATE}")


def _unusual(n: Array, d: Array, loss: Array) -> Iterator[FitWarning]:
    """Note losses that are far from those of language models of the same sizes and tokens."""
    large = (n >= LEAST_N) & (d >= LEAST_D)
    if large.sum() < FEW_ROWS:
        return
    ratio = float(np.median(loss[large] / usual_loss(n[large], d[large])))
    if LOW_RATIO <= ratio <= HIGH_RATIO:
        return
    if ratio < LOW_RATIO:
        like = "bits per byte, or logarithms of nats,"
    else:
        like = "bits per token, or losses on text unlike that of training,"
    text = (
        f"losses are {ratio:.2g} times those of language models of these sizes and tokens (Hoffmann et al. "
        f"2022), as {like} are; {STATE}"
    )
    yield FitWarning(WarningCode.LOSS_LEVEL, text)


def _rising(axis: str, values: Array, loss: Array) -> Iterator[FitWarning]:
    if len(loss) < FEW_ROWS or np.ptp(values) == 0 or np.ptp(loss) == 0:
        return
    rank = float(np.corrcoef(pd.Series(values).rank(), pd.Series(loss).rank())[0, 1])
    if rank > RISING:
        text = (
            f"losses rise with {axis} (rank correlation {rank:.2f}): the column may hold a score, and no law"
        )
        yield FitWarning(WarningCode.LOSS_SCALE, f"{text} of losses describes scores")


def _training_log(frame: pd.DataFrame, columns: Columns, n: Array, d: Array) -> Iterator[FitWarning]:
    """Warn if rows seem to be steps of a few runs: they share noise, and most are no end points."""
    run = _run_column(frame, n, d)
    codes = n if run is None else pd.factorize(frame[run].map(repr))[0]
    on_raster = sum(len(rows) for rows in groups(codes) if _raster(d[rows]))
    # Who names a trunk as the cluster of its branches has said that they share noise.
    is_told = run is not None and columns.names.get("cluster") == run and "cluster" not in columns.guessed
    if on_raster <= MOST * len(frame) and (run is None or is_told):
        return
    if on_raster > MOST * len(frame):
        text = (
            f"{on_raster} rows of {len(np.unique(n))} sizes lie on rasters of token counts, as the steps of "
            "a training log do and the ends of runs do not"
        )
    else:
        text = f"rows of several token counts share a value of {run!r}, as the steps of one run do"
    advice = "keep the last row of each run, since rows before the end of a schedule are no end points"
    if "cluster" not in columns.names:
        to = f"map {run!r} to cluster" if run else "map the column that names the run to cluster"
        advice += f", and {to}, since rows of one run share noise"
    yield FitWarning(WarningCode.TRAINING_LOG, f"{text}: {advice}")


def _run_column(frame: pd.DataFrame, n: Array, d: Array) -> str | None:
    """Return a column that names runs by its name, and that several token counts of one size share."""
    for name in frame.columns:
        if not words_of(name) & RUN_NAMES or list(frame.columns).count(name) > 1:
            continue
        codes = pd.factorize(frame[name].map(repr))[0]
        rows = pd.DataFrame({"run": codes, "n": n, "d": d})
        counted = rows.groupby("run")[["n", "d"]].transform("nunique")
        if float(((counted["n"] == 1) & (counted["d"] > 1)).mean()) > MOST and codes.max() > 0:
            return str(name)
    return None


def _raster(d: Array) -> bool:
    """Return whether most steps between token counts are equal."""
    tokens = np.unique(d)
    if len(tokens) < MIN_LOGGED:
        return False
    steps = np.diff(tokens)
    middle = float(np.median(steps))
    return float(np.mean(np.abs(steps - middle) <= SAME_STEP * middle + ROUNDING)) > MOST


def _untuned(
    frame: pd.DataFrame, columns: Columns, cell: Codes, loss: Array, absent: str
) -> Iterator[FitWarning]:
    """Warn if rows of a cell differ in a setting: the law is for the best run of a cell."""
    log_loss = np.log(loss)
    repeated = np.bincount(cell)[cell] > 1
    if not repeated.any():
        return
    cells, rest = cell[repeated], log_loss[repeated]
    grouped = pd.Series(rest).groupby(cells)
    deviation = rest - grouped.transform("mean").to_numpy()
    sd = float(np.sqrt(np.sum(deviation**2) / (len(rest) - grouped.ngroups)))
    if sd < MIN_SD:
        return
    used = set(columns.names.values()) | {columns.status}
    rows = frame[repeated]
    named = [
        name
        for name in frame.columns
        if name not in used
        and list(frame.columns).count(name) == 1
        and not words_of(name) & REPLICATES
        and _is_setting(name, rows[name], cells, deviation)
    ]
    if not named:
        return
    best = grouped.idxmin().to_numpy()
    held = rows[named[0]].iloc[best].dropna().map(str).value_counts()
    ranges = 100 * np.expm1(grouped.max() - grouped.min())
    low, high = (f"{end:.2g}" if end < 100 else f"{end:.0f}" for end in (ranges.min(), ranges.max()))
    between = low if low == high else f"{low} to {high}"
    varying = f"{', '.join(map(repr, named[:3]))} {'varies' if len(named) == 1 else 'vary'}"
    text = (
        f"rows of equal {cell_axes(absent)} differ by {between} % in loss, and {varying} within them: a law "
        "describes the best run of each cell, so keep that row alone, or one value by a condition on the "
        "column"
    )
    if len(held):
        text += f"; {named[0]} = {held.index[0]} is the best in {held.iloc[0]} of {len(best)} cells"
    yield FitWarning(WarningCode.UNTUNED_CELLS, text)


def _is_setting(name: str, column: pd.Series[str], cells: Codes, deviation: Array) -> bool:
    """Return whether a column is a setting that varies within cells: its values come back in other rows."""
    values = pd.factorize(column.map(repr))[0]
    per_cell = pd.Series(values).groupby(cells).nunique()
    if not (per_cell > 1).any() or len(np.unique(values)) > len(values) / 2:
        return False
    if words_of(name) & SETTINGS:
        return True
    explained = pd.Series(deviation).groupby(values).transform("mean").to_numpy()
    return float(np.sum(explained**2)) > EXPLAINED * float(np.sum(deviation**2))
