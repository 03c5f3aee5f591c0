"""Runs trained side by side: equal to runs alone, each with its own end, resumed to the last bit."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

from harness.engine.mesh import MeshConfig, make_mesh
from harness.engine.step import engine_for, micro_batches
from harness.recipe.spec import Job, RunSpec
from harness.records.errors import InputError
from harness.records.paths import SweepFolder
from harness.train.loop import Interrupted, initial_state
from harness.train.pack import train_pack
from harness.train.stopwatch import compile_seconds
from tests import ROOT
from tests.recipes import (
    ALL_OPTIONS,
    INTERVAL,
    RASTER,
    collected,
    inputs,
    model,
    optim,
    run_spec,
    train,
    windows,
)
from tests.small_sweeps import assert_same_tables, environment, train_command
from tests.small_sweeps import train as sweep_of

SMALL = model(n_layers=1)
FIRST = run_spec(model=SMALL)
FASTER = replace(FIRST, optim=optim(hidden_lr=0.02, embed_lr=0.05))
SPECS = [FIRST, replace(FIRST, seed=1), FASTER]
WILD = replace(FIRST, optim=optim(hidden_lr=1e20, head_lr=1e20, embed_lr=1e20))
ENDS = (4 * RASTER, 8 * RASTER)
# Room for every lane that an earlier start had.
AT_MOST = 8

Tables = tuple[pd.DataFrame, pd.DataFrame]


def pack(
    root: Path, specs: list[RunSpec], ends: tuple[int, ...] = ENDS, at_most: int = AT_MOST, **options: object
) -> list[str | Exception]:
    """Train the runs together."""
    folders = [SweepFolder(root).run(spec.run_id) for spec in specs]
    jobs = [Job(spec, ends) for spec in specs]
    return train_pack(jobs, folders, inputs(**options), at_most)  # type: ignore[arg-type]


def alone(root: Path, specs: list[RunSpec], ends: tuple[int, ...] = ENDS) -> list[str]:
    """Train the runs one after the other."""
    return [train(root / "runs" / spec.run_id, spec, ends) for spec in specs]


def tables(root: Path, specs: list[RunSpec], ends: tuple[int, ...] = ENDS) -> Tables:
    """Points and curves without what tells of speed."""
    return collected(root, specs, ends)


def assert_same(left: Tables, right: Tables) -> None:
    for mine, theirs in zip(left, right, strict=True):
        pd.testing.assert_frame_equal(mine, theirs, check_exact=True)


def assert_close(left: Tables, right: Tables) -> None:
    """The same rows, and numbers to 1e-5."""
    for mine, theirs in zip(left, right, strict=True):
        pd.testing.assert_frame_equal(mine, theirs, rtol=1e-5, atol=1e-5)


def stop_after(n: int) -> Callable[[], bool]:
    """Asked to stop from the n-th question on."""
    asked = iter(range(10_000))
    return lambda: next(asked) >= n


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pack")
    assert pack(root, SPECS) == ["done"] * 3
    return root


def test_a_pack_equals_separate_runs(undisturbed: Path, tmp_path: Path) -> None:
    """Two seeds and another rate, in the trunk and both branches."""
    assert alone(tmp_path, SPECS) == ["done"] * 3
    points, _ = tables(undisturbed, SPECS)
    assert points.loss.nunique() == len(points) == 6
    assert_close(tables(undisturbed, SPECS), tables(tmp_path, SPECS))
    for spec in SPECS:
        mine, theirs = (sorted(root.rglob(f"{spec.run_id}/**/*")) for root in (undisturbed, tmp_path))
        assert names(mine, undisturbed) == names(theirs, tmp_path)


def names(paths: list[Path], root: Path) -> list[str]:
    """What of a run lies where, without the insides of checkpoints."""
    return [str(path.relative_to(root)) for path in paths if "checkpoints" not in path.parts[:-2]]


@pytest.mark.parametrize(
    ("optimiser", "kind", "n_steps"),
    [
        pytest.param("muon", "cosine", 32, marks=pytest.mark.slow),
        ("schedule_free", "constant", None),
        ("adamw", "cosine", 32),
        ("adamw", "linear", 32),
    ],
)
def test_packs_of_other_optimisers_and_schedules(
    tmp_path: Path, optimiser: str, kind: str, n_steps: int | None
) -> None:
    ends = ENDS if n_steps is None else ENDS[1:]
    spec = run_spec(kind=kind, n_steps=n_steps, model=SMALL, optim=optim(name=optimiser))
    specs = [spec, replace(spec, seed=1), replace(spec, optim=optim(name=optimiser, gain_lr=0.02))]
    assert pack(tmp_path / "pack", specs, ends) == alone(tmp_path / "alone", specs, ends) == ["done"] * 3
    assert_close(tables(tmp_path / "pack", specs, ends), tables(tmp_path / "alone", specs, ends))


def test_a_pack_of_every_option_of_the_shape_equals_separate_runs_and_resumes(tmp_path: Path) -> None:
    spec = run_spec(model=model(n_layers=2, **ALL_OPTIONS))
    specs, ends = [spec, replace(spec, seed=1)], ENDS[:1]
    assert alone(tmp_path / "alone", specs, ends) == ["done"] * 2
    for ending in pack(tmp_path / "pack", specs, ends, should_stop=stop_after(5)):
        assert isinstance(ending, Interrupted)
    assert pack(tmp_path / "pack", specs, ends) == ["done"] * 2
    assert_close(tables(tmp_path / "pack", specs, ends), tables(tmp_path / "alone", specs, ends))
    again = tmp_path / "again" / "runs" / spec.run_id
    with pytest.raises(Interrupted):
        train(again, spec, ends, should_stop=stop_after(2))
    assert train(again, spec, ends) == "done"
    assert_same(tables(tmp_path / "again", specs[:1], ends), tables(tmp_path / "alone", specs[:1], ends))


def test_a_member_that_diverges_leaves_the_others_as_they_were(undisturbed: Path, tmp_path: Path) -> None:
    specs = [WILD, *SPECS[1:]]
    assert pack(tmp_path, specs) == ["diverged", "done", "done"]
    assert alone(tmp_path / "alone", [WILD]) == ["diverged"]
    assert_same(tables(tmp_path, SPECS[1:]), tables(undisturbed, SPECS[1:]))
    points, _ = tables(tmp_path, [WILD])
    pd.testing.assert_frame_equal(points, tables(tmp_path / "alone", [WILD])[0], rtol=1e-3)
    assert points.excluded_reason[0].startswith("diverged: loss ")


@pytest.mark.parametrize("every", [2, 7])
def test_a_pack_stopped_again_and_again_gives_the_same_bytes(
    undisturbed: Path, tmp_path: Path, every: int
) -> None:
    """Members stand at different steps when they go on, since some were told before others."""
    for _ in range(60):
        endings = pack(tmp_path, SPECS, should_stop=stop_after(every))
        assert all(isinstance(ending, Interrupted) or ending == "done" for ending in endings)
        if endings == ["done"] * 3:
            break
    assert_same(tables(tmp_path, SPECS), tables(undisturbed, SPECS))


def test_what_is_left_of_a_pack_is_trained_in_as_many_lanes(undisturbed: Path, tmp_path: Path) -> None:
    """A kill between the last points of two members."""
    shutil.copytree(undisturbed, tmp_path / "cut")
    folder = SweepFolder(tmp_path / "cut").run(FASTER.run_id)
    folder.point(FASTER.point_id(ENDS[1])).unlink()
    shutil.rmtree(folder.checkpoints)
    assert pack(tmp_path / "cut", [FASTER]) == ["done"]
    assert_same(tables(tmp_path / "cut", SPECS), tables(undisturbed, SPECS))


def test_runs_go_from_a_pack_to_alone_and_back(undisturbed: Path, tmp_path: Path) -> None:
    for ending in pack(tmp_path, SPECS, should_stop=stop_after(6)):
        assert isinstance(ending, Interrupted)
    # With one lane at most a run begun in three goes on by itself.
    assert pack(tmp_path, SPECS[:1], at_most=1) == ["done"]
    assert SweepFolder(tmp_path).run(FIRST.run_id).read_state().n_lanes == 1
    assert isinstance(pack(tmp_path, SPECS[1:2], at_most=1, should_stop=stop_after(2))[0], Interrupted)
    assert pack(tmp_path, SPECS) == ["done"] * 3
    assert_close(tables(tmp_path, SPECS), tables(undisturbed, SPECS))


def test_a_member_that_fails_does_not_stop_the_others(undisturbed: Path, tmp_path: Path) -> None:
    """One finds a checkpoint of another recipe in its folder."""
    runs = [SweepFolder(tmp_path).run(spec.run_id) for spec in SPECS]
    assert isinstance(pack(tmp_path, SPECS[1:2], should_stop=stop_after(2))[0], Interrupted)
    runs[0].root.mkdir(exist_ok=True)
    shutil.copytree(runs[1].checkpoints, runs[0].checkpoints)
    endings = pack(tmp_path, SPECS)
    assert isinstance(endings[0], InputError)
    assert endings[1:] == ["done"] * 2
    assert_close(tables(tmp_path, SPECS[1:]), tables(undisturbed, SPECS[1:]))


def test_a_program_that_fails_ends_all_members_and_may_be_tried_again(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as broken:
        broken.setattr("harness.train.pack._program", lambda *_: out_of_memory)
        assert [str(ending) for ending in pack(tmp_path, SPECS)] == ["no room"] * 3
    assert pack(tmp_path, SPECS) == ["done"] * 3
    assert_same(tables(tmp_path, SPECS), tables(undisturbed, SPECS))


def test_every_lane_has_a_loss_scale_of_its_own() -> None:
    spec = run_spec(model=model(n_layers=1, precision="fp16"))
    engine = engine_for(spec, make_mesh(MeshConfig()))
    states = [initial_state(engine, seed) for seed in range(2)]
    before = float(states[0]["loss_scale"]["scale"])
    states[1]["loss_scale"]["scale"] = jax.numpy.float32(1e30)
    batches = micro_batches(engine, windows(INTERVAL))
    rates = dict.fromkeys(("hidden", "embed", "head", "gain"), np.full(2, 0.01, np.float32))
    factors = np.ones((2, INTERVAL), np.float32)
    states, metrics = engine.packed(2)(states, np.stack([batches] * 2), factors, rates)
    assert float(states[0]["loss_scale"]["scale"]) == before
    assert float(states[1]["loss_scale"]["scale"]) == pytest.approx(1e30 / 2**INTERVAL)
    assert np.isfinite(metrics["loss"][0]).all()


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [MeshConfig(data=2, fsdp=2), MeshConfig(tensor=2, stage=2)], ids=str)
def test_a_pack_on_a_mesh_equals_one_device(tmp_path: Path, mesh: MeshConfig) -> None:
    specs = [run_spec(), replace(run_spec(), seed=1)]
    assert pack(tmp_path / "mesh", specs, ENDS[:1], mesh=mesh) == ["done"] * 2
    assert alone(tmp_path / "alone", specs, ENDS[:1]) == ["done"] * 2
    assert_close(tables(tmp_path / "mesh", specs, ENDS[:1]), tables(tmp_path / "alone", specs, ENDS[:1]))


@pytest.mark.usefixtures("undisturbed")
def test_another_run_of_a_shape_compiles_nothing(tmp_path: Path) -> None:
    """Seed, rates, schedule and token counts are inputs of compiled programs, alone and in a pack."""
    cosine = run_spec(kind="cosine", n_steps=48, model=SMALL, seed=5, optim=optim(head_lr=0.03))
    assert alone(tmp_path, SPECS[:1], ENDS[:1]) == ["done"]
    before = compile_seconds().total()
    assert alone(tmp_path, [cosine], (12 * RASTER,)) == ["done"]
    others = [replace(cosine, seed=seed) for seed in (6, 7, 8)]
    assert pack(tmp_path, others, (12 * RASTER,)) == ["done"] * 3
    assert compile_seconds().total() == before


PACKED = [
    "grid.n_tokens=[16384,131072]", "grid.seeds=[0,1]", "launcher.pack=2", "launcher.n_workers=1",
    "launcher.checkpoint_seconds=0.2",
]  # fmt: skip


def kill_when_saved(results: Path, cache: Path) -> None:
    """Start the packed sweep, and kill driver and worker once part of a curve has been saved."""
    driver = subprocess.Popen(train_command(results, *PACKED), cwd=ROOT, env=environment(cache))
    deadline = time.monotonic() + 300
    while not list(results.glob("runs/*/curves/*")):
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    for state in results.glob("runs/*/state.json"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(json.loads(state.read_text())["pid"], signal.SIGKILL)


@pytest.mark.slow
def test_a_packed_sweep_killed_and_started_again_gives_the_same_bytes(
    tmp_path: Path, data_cache: Path
) -> None:
    assert sweep_of(tmp_path / "whole", data_cache, *PACKED).returncode == 0
    states = [json.loads(path.read_text()) for path in (tmp_path / "whole").glob("runs/*/state.json")]
    assert [state["n_lanes"] for state in states] == [2, 2]
    kill_when_saved(tmp_path / "killed", data_cache)
    assert sweep_of(tmp_path / "killed", data_cache, *PACKED).returncode == 0
    assert_same_tables(tmp_path / "killed", tmp_path / "whole")
