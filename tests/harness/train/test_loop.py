"""One trajectory: branches, resuming, extending, diverging."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.recipe.spec import RunSpec
from harness.records.paths import RunFolder
from harness.train.loop import EXPLODED_NATS, Interrupted
from tests.recipes import RASTER, VOCAB, collected, model, optim, run_spec, train

# Of one layer, which compiles soonest.
SPEC = run_spec(model=model(n_layers=1))
ENDS = (4 * RASTER, 8 * RASTER)


def tables(root: Path, spec: RunSpec, ends: tuple[int, ...] = ENDS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables of a one-run sweep without the columns that tell of speed."""
    return collected(root, [spec], ends)


def run_in(root: Path, spec: RunSpec, ends: tuple[int, ...] = ENDS, **options: object) -> str:
    return train(root / "runs" / spec.run_id, spec, ends, **options)


def assert_same(left, right):
    for mine, theirs in zip(left, right, strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    assert run_in(root, SPEC) == "done"
    return tables(root, SPEC)


def test_tables_hold_every_step_once(undisturbed):
    points, curves = undisturbed
    assert list(points.n_tokens) == list(ENDS)
    assert (points.status == "done").all()
    assert points.loss.is_monotonic_decreasing
    assert not curves.duplicated(["point_id", "step"]).any()
    trunk = curves[curves.point_id.isna()]
    assert list(trunk.step) == list(range(4, trunk.step.max() + 1, 4))


@pytest.mark.parametrize("stop_after", [1, 3, 4, 5, 7, 8])
def test_killed_and_resumed_equals_undisturbed(tmp_path, undisturbed, stop_after):
    """Stops in the trunk, at its end and inside both branches."""
    asked = iter(range(1000))
    with pytest.raises(Interrupted):
        run_in(tmp_path, SPEC, should_stop=lambda: next(asked) >= stop_after)
    assert run_in(tmp_path, SPEC) == "done"
    assert_same(tables(tmp_path, SPEC), undisturbed)


def test_stopping_at_every_interval_still_ends_with_the_same_tables(tmp_path, undisturbed):
    for _ in range(30):
        asked = iter(range(1000))
        try:
            run_in(tmp_path, SPEC, should_stop=lambda asked=asked: next(asked) >= 1)
        except Interrupted:
            continue
        break
    assert_same(tables(tmp_path, SPEC), undisturbed)


def test_a_part_written_without_its_checkpoint_is_trained_again(tmp_path, undisturbed):
    """The kill between a curve part and its checkpoint leaves rows beyond the checkpoint."""
    asked = iter(range(1000))
    with pytest.raises(Interrupted):
        run_in(tmp_path, SPEC, should_stop=lambda: next(asked) >= 2)
    folder = RunFolder(tmp_path / "runs" / SPEC.run_id)
    (part,) = folder.curves.glob("trunk-*.parquet")
    stray = pd.read_parquet(part).assign(step=lambda f: f.step + 8, train_loss=-1.0)
    stray.to_parquet(folder.curve_part("trunk", int(stray.step.min()), int(stray.step.max())))
    assert run_in(tmp_path, SPEC) == "done"
    assert_same(tables(tmp_path, SPEC), undisturbed)


def test_a_trunk_is_extended_to_further_points(tmp_path, undisturbed):
    assert run_in(tmp_path, SPEC, ENDS[:1]) == "done"
    first = (tmp_path / "runs" / SPEC.run_id / "points").glob("*.json")
    before = {path.name: path.stat().st_mtime_ns for path in first}
    assert run_in(tmp_path, SPEC) == "done"
    assert_same(tables(tmp_path, SPEC), undisturbed)
    for path in (tmp_path / "runs" / SPEC.run_id / "points").glob("*.json"):
        assert before.get(path.name, path.stat().st_mtime_ns) == path.stat().st_mtime_ns


def test_a_smaller_count_added_later_leaves_the_checkpoints_ahead(tmp_path, undisturbed):
    """The trunk goes back for the new branch; a larger count still goes on from the old end of the trunk."""
    assert run_in(tmp_path, SPEC, ENDS[1:]) == "done"
    run = RunFolder(tmp_path / "runs" / SPEC.run_id)
    last = max(int(path.name) for path in (run.checkpoints / "trunk").iterdir())
    assert run_in(tmp_path, SPEC) == "done"
    assert_same(tables(tmp_path, SPEC), undisturbed)
    assert (run.checkpoints / "trunk" / str(last)).exists()
    assert run_in(tmp_path, SPEC, (*ENDS, 10 * RASTER)) == "done"
    assert run.read_state().tokens_ahead == 10 * RASTER - last * SPEC.batch_tokens


def test_a_branch_equals_a_straight_run_with_its_schedule(tmp_path, undisturbed):
    """Training only the longest branch, with no branch before it, gives the same end point."""
    assert run_in(tmp_path, SPEC, ENDS[1:]) == "done"
    points, _ = tables(tmp_path, SPEC, ENDS[1:])
    assert points.loss[0] == undisturbed[0].loss[1]


def test_seeds_differ_and_repeat(tmp_path, undisturbed):
    other = replace(SPEC, seed=1)
    run_in(tmp_path, other)
    run_in(tmp_path, SPEC)
    assert_same(tables(tmp_path, SPEC), undisturbed)
    assert (tables(tmp_path, other)[0].loss != undisturbed[0].loss).all()


def test_cosine_runs_end_once(tmp_path):
    spec = replace(SPEC, schedule=run_spec(kind="cosine", n_steps=32).schedule)
    assert run_in(tmp_path, spec, (8 * RASTER,)) == "done"
    points, curves = tables(tmp_path, spec, (8 * RASTER,))
    assert points.schedule[0] == "cosine"
    assert curves.hidden_lr.iloc[-1] == pytest.approx(0.0, abs=1e-9)


AVERAGED = replace(SPEC, schedule=run_spec(kind="constant").schedule, optim=optim(name="schedule_free"))
ORTHOGONAL = replace(SPEC, optim=optim(name="muon"))


@pytest.mark.parametrize("spec", [ORTHOGONAL, AVERAGED], ids=["muon", "schedule_free"])
def test_other_optimisers_learn_and_resume_to_the_last_bit(tmp_path, spec):
    """Stopped before every second interval, in the trunk, at the first end point and behind it."""
    assert run_in(tmp_path / "whole", spec) == "done"
    for _ in range(30):
        asked = iter(range(1000))
        try:
            run_in(tmp_path / "cut", spec, should_stop=lambda asked=asked: next(asked) >= 2)
        except Interrupted:
            continue
        break
    assert_same(tables(tmp_path / "cut", spec), tables(tmp_path / "whole", spec))
    assert tables(tmp_path / "whole", spec)[0].loss.is_monotonic_decreasing


def test_end_points_of_a_schedule_free_run_lie_on_one_trajectory(tmp_path):
    """Neither trained on nor changed by the end points before it."""
    assert run_in(tmp_path / "both", AVERAGED) == "done"
    assert run_in(tmp_path / "last", AVERAGED, ENDS[1:]) == "done"
    both, curves = tables(tmp_path / "both", AVERAGED)
    assert tables(tmp_path / "last", AVERAGED, ENDS[1:])[0].loss[0] == both.loss[1]
    assert curves.point_id.isna().all()
    assert len(curves) == ENDS[1] // RASTER


def test_a_diverging_run_is_recorded_and_not_fatal(tmp_path):
    wild = replace(SPEC, optim=optim(hidden_lr=1e20, head_lr=1e20, embed_lr=1e20))
    assert run_in(tmp_path, wild) == "diverged"
    points, _ = tables(tmp_path, wild)
    assert (points.status == "diverged").all()
    assert points.loss.isna().all()
    assert points.excluded_reason.str.contains("step").all()
    state = json.loads((tmp_path / "runs" / wild.run_id / "state.json").read_text())
    assert state["status"] == "diverged"


@pytest.mark.parametrize(("rate", "losses"), [(1e20, ("nan", "inf")), (30.0, None)], ids=["nan", "exploding"])
def test_a_diverged_run_says_where_and_from_which_loss(tmp_path, rate, losses):
    wild = replace(SPEC, optim=optim(hidden_lr=rate, head_lr=rate, embed_lr=rate, grad_clip=1e9))
    assert run_in(tmp_path, wild) == "diverged"
    reason = tables(tmp_path, wild)[0].excluded_reason[0]
    found = re.search(r"loss (\S+) at step (\d+), after (\S+) at step (\d+)$", reason)
    assert found, reason
    assert int(found[4]) == int(found[2]) - 1
    assert float(found[3]) < np.log(VOCAB) + EXPLODED_NATS
    if losses:
        assert found[1] in losses
    else:
        assert np.log(VOCAB) + EXPLODED_NATS < float(found[1]) < np.inf


def test_a_damaged_checkpoint_is_passed_over_with_a_word_to_the_user(tmp_path, undisturbed, caplog):
    asked = iter(range(1000))
    with pytest.raises(Interrupted):
        run_in(tmp_path, SPEC, should_stop=lambda: next(asked) >= 4, seconds=0.0)
    run = RunFolder(tmp_path / "runs" / SPEC.run_id)
    steps = sorted(int(path.name) for path in (run.checkpoints / "trunk").iterdir())
    assert len(steps) == 2
    for path in (run.checkpoints / "trunk" / str(steps[-1])).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert run_in(tmp_path, SPEC) == "done"
    warning = f"checkpoint trunk/{steps[-1]} is damaged"
    assert warning in caplog.text
    assert run.log.read_text().startswith(f"warning: {warning}")
    assert [text.startswith(warning) for text in run.read_state().warnings] == [True]
    assert_same(tables(tmp_path, SPEC), undisturbed)


def test_evaluation_set_is_common_to_all_points(undisturbed):
    points, curves = undisturbed
    np.testing.assert_allclose(points.bits_per_byte, points.loss / np.log(2), rtol=1e-6)
    assert curves[curves.point_id.isna()].eval_loss.notna().any()
