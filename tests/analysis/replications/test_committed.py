"""The committed replications: their study made anew, and README's words about them."""

from __future__ import annotations

import functools

import numpy as np

from analysis.arrays import Array
from analysis.intervals import LEVEL, interval_score
from analysis.records.replications import ReplicationsRecord, read_replications_record
from analysis.replications.study import study_replications
from analysis.replications.text import lead
from tests import ROOT

FOLDER = ROOT / "results/replications/chinchilla"


@functools.cache
def study() -> ReplicationsRecord:
    return study_replications(FOLDER, fixed=read_replications_record(FOLDER / "replications.json").n_fixed)


def cells() -> tuple[Array, Array, Array, Array]:
    """Losses, predictions and the ends of their intervals [replications, cells]."""
    rows = [[(c.loss, c.predicted, c.low, c.high) for c in each.cells] for each in study().replications]
    loss, predicted, low, high = np.moveaxis(np.array(rows), 2, 0)
    return loss, predicted, low, high


def test_the_committed_study_is_that_of_the_committed_tables() -> None:
    stored = read_replications_record(FOLDER / "replications.json")
    made = study()
    assert [each.name for each in made.replications] == [each.name for each in stored.replications]
    for ours, theirs in zip(made.parts, stored.parts, strict=True):
        assert ours.held_out[0].coverage == theirs.held_out[0].coverage
        assert abs(ours.held_out[0].rms_percent.median - theirs.held_out[0].rms_percent.median) < 1e-6


def test_readme_quotes_the_committed_study() -> None:
    text = (ROOT / "README.md").read_text()
    quoted = text.split("<!-- replications: begin -->")[1].split("<!-- replications: end -->")[0].split()
    losses = lead(read_replications_record(FOLDER / "replications.json"))[:2]
    assert quoted == " ".join(losses).split()


def test_what_a_better_forecast_could_gain() -> None:
    """A held-out loss is one run: the mean of the other replications misses it too."""
    loss, predicted, _, _ = cells()
    others = (loss.sum(axis=0) - loss) / (len(loss) - 1)
    floor, stated = (np.sqrt(np.mean((each / loss - 1) ** 2, axis=1)) for each in (others, predicted))
    print(f"RMS, %: mean of the others {100 * np.median(floor):.2f}, forecasts {100 * np.median(stated):.2f}")
    assert 0.0042 < np.median(floor) < 0.0045
    # What forecasts miss alike in all replications is the error of the laws, not of the seeds.
    alike = np.mean(predicted / loss - 1, axis=0)
    assert 0.004 < np.sqrt(np.mean(alike**2)) < 0.0046


def test_no_width_of_the_intervals_reaches_a_score_of_three() -> None:
    """Not even the half-width of each cell that would have been best, chosen with all losses in sight."""
    loss, predicted, _, _ = cells()
    widths = np.linspace(0.001, 0.05, 200)[:, None, None]
    scores = interval_score(predicted * (1 - widths), predicted * (1 + widths), loss, LEVEL) / loss
    best = 100 * float(scores.mean(axis=1).min(axis=0).mean())
    print(f"interval score with the best half-widths {best:.2f} %")
    assert 3.1 < best < 3.5


def test_a_factor_on_the_widths_does_not_carry_over() -> None:
    """A factor that gives ten replications a coverage of 90 % leaves the other ten with less than 86 %."""
    loss, predicted, low, high = cells()
    reached = np.where(
        loss > predicted, (loss - predicted) / (high - predicted), (predicted - loss) / (predicted - low)
    )
    factor = float(np.quantile(reached[:10], LEVEL))
    inside = float(np.mean(reached[10:] <= factor))
    ends = predicted + factor * (low - predicted), predicted + factor * (high - predicted)
    before, after = (
        float(np.mean((interval_score(*both, loss, LEVEL) / loss)[10:])) for both in ((low, high), ends)
    )
    print(f"factor {factor:.2f}: {inside:.2f} inside, score {100 * before:.2f} before, {100 * after:.2f} %")
    assert factor < 0.8
    assert inside < 0.86
    assert after > before
