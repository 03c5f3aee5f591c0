"""Checkpoints: written beside training, sound or passed over, of this very recipe and layout."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness.engine.mesh import MeshConfig, make_mesh
from harness.engine.step import advance, engine_for
from harness.launch.worker import run_job
from harness.recipe.schedule import Segment, lr_factors
from harness.recipe.spec import Job
from harness.records.errors import InputError
from harness.records.files import write_json
from harness.records.paths import SweepFolder
from harness.train import checkpoint
from harness.train.checkpoint import CheckpointStore, layout
from harness.train.loop import initial_state
from tests.damages import DAMAGES, flip
from tests.recipes import BATCH, INTERVAL, RASTER, inputs, run_spec, windows

STEPS = (4, 8)


def state(step: int) -> dict[str, jax.Array]:
    """Noise hardly compresses: Orbax stores its bits as they are."""
    return {"weights": jax.random.normal(jax.random.key(step), (64, 64)), "count": jnp.int32(step)}


def store(folder: Path, warnings: list[str] | None = None, run_id: str = "recipe") -> CheckpointStore:
    return CheckpointStore(folder, run_id, [].append if warnings is None else warnings.append)


def abstract() -> Any:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state(0)
    )


def restored(folder: Path, at_most: int = 100) -> tuple[int | None, list[str]]:
    """Step that comes back, whose arrays are checked, and the warnings."""
    warnings: list[str] = []
    made = store(folder, warnings)
    found = made.restore("trunk", abstract(), at_most)
    made.close()
    if found is None:
        return None, warnings
    jax.tree.map(np.testing.assert_array_equal, found[1], state(found[0]))
    return found[0], warnings


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of three saves; not to be changed."""
    folder = tmp_path_factory.mktemp("saved")
    made = store(folder)
    for step in (2, *STEPS):
        made.save("trunk", step, state(step))
    made.close()
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def test_the_last_two_are_kept_and_the_last_comes_back(saved: Path) -> None:
    assert sorted(path.name for path in (saved / "trunk").iterdir()) == ["4", "8"]
    assert restored(saved) == (8, [])


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in (folder / "trunk").iterdir())


def test_one_from_before_a_step_comes_back_and_the_rest_stays(copy: Path) -> None:
    assert restored(copy, at_most=7) == (4, [])
    assert restored(copy, at_most=3) == (None, [])
    assert steps_in(copy) == [4, 8]
    assert restored(copy) == (8, [])


def test_a_run_that_goes_back_keeps_the_last_two_before_and_ahead(copy: Path) -> None:
    made = store(copy)
    assert made.restore("trunk", abstract(), 4) is not None
    seen = []
    for step in (5, 6, 7, 8, 9, 10):
        made.save("trunk", step, state(step))
        made.wait()
        seen.append(steps_in(copy))
    made.close()
    assert seen == [[4, 5, 8], [5, 6, 8], [6, 7, 8], [6, 7, 8], [8, 9], [9, 10]]
    assert restored(copy, at_most=9) == (9, [])


def largest(folder: Path) -> Path:
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty_folder(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def become_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("x")


def say_another_recipe(path: Path) -> None:
    path.write_text(path.read_text().replace("recipe", "recipf"))


# What is done to which file ("*" is the largest, with the array data), and the words of the warning.
KINDS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "one bit of data": ("*", flip, "other content than was written"),
    "data of zeros": ("*", DAMAGES["zeros"], "other content than was"),
    "data cut off": ("*", cut, "was cut off"),
    "data missing": ("*", Path.unlink, "is missing"),
    "index of garbage": ("state/manifest.ocdbt", lambda p: p.write_bytes(os.urandom(90)), "manifest.ocdbt"),
    "index empty": ("state/manifest.ocdbt", DAMAGES["empty"], "manifest.ocdbt was cut off"),
    "tree missing": ("state/_METADATA", Path.unlink, "state/_METADATA is missing"),
    "arrays missing": ("state", shutil.rmtree, "is missing"),
    "manifest missing": ("manifest.json", Path.unlink, "manifest.json is missing"),
    "manifest cut off": ("manifest.json", cut, "manifest.json is not readable"),
    "manifest of nonsense": ("manifest.json", lambda p: p.write_text("[]"), "manifest.json is not readable"),
    "manifest of bytes": ("manifest.json", lambda p: p.write_bytes(b"\xff"), "manifest.json is not readable"),
    "manifest of another recipe": ("manifest.json", say_another_recipe, "manifest.json has other content"),
    "empty folder": (".", empty_folder, "manifest.json is missing"),
    "no folder": (".", become_file, "no folder"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(copy: Path, kind: str) -> None:
    name, damage, reason = KINDS[kind]
    latest = copy / "trunk" / "8"
    damage(largest(latest) if name == "*" else latest / name)
    step, (warning,) = restored(copy)
    assert step == 4
    assert warning.startswith("checkpoint trunk/8 is damaged (")
    assert reason in warning
    made = store(copy)
    made.save("trunk", 8, state(8))
    made.close()
    assert restored(copy) == (8, [])


def test_a_checkpoint_that_was_sealed_half_gives_way_to_the_one_before(copy: Path) -> None:
    """As two processes that write it at once leave it, if one of them seals it."""
    folder = copy / "trunk" / str(STEPS[1])
    (folder / "state" / "_METADATA").unlink()
    manifest = json.loads((folder / checkpoint.MANIFEST).read_text())
    manifest.pop("check")
    (folder / checkpoint.MANIFEST).unlink()
    manifest["files"] = checkpoint.checksums(folder)
    write_json(folder / checkpoint.MANIFEST, manifest | {"check": checkpoint.own_check(manifest)})
    step, warnings = restored(copy)
    assert step == STEPS[0]
    assert len(warnings) == 1
    assert f"trunk/{STEPS[1]} cannot be loaded" in warnings[0]


def test_without_a_sound_checkpoint_the_run_begins_anew(copy: Path) -> None:
    for step in STEPS:
        flip(largest(copy / "trunk" / str(step)))
    found, warnings = restored(copy)
    assert found is None
    assert len(warnings) == 2
    assert list((copy / "trunk").iterdir()) == []
    assert restored(copy / "nothing") == (None, [])


def test_what_a_killed_save_left_is_cleared_away(copy: Path) -> None:
    left = copy / "trunk" / "12.orbax-checkpoint-tmp"
    shutil.copytree(copy / "trunk" / "8", left)
    assert restored(copy) == (8, [])
    assert not left.exists()


@pytest.mark.parametrize(
    ("run_id", "changed", "words"),
    [
        ("other", {}, r"is a checkpoint of recipe recipe, expected other; delete .*copy to train"),
        ("recipe", {"weights": jnp.zeros((8, 4))}, r"float32\[64,64\] for \['weights'\], expected float32"),
        ("recipe", {"more": jnp.zeros(2)}, r"holds nothing for \['more'\], expected float32\[2\]; delete"),
        ("recipe", {"count": jnp.float32(0)}, r"holds int32\[\] for \['count'\], expected float32\[\]"),
    ],
)  # fmt: skip
def test_one_of_another_recipe_or_layout_is_refused_in_a_sentence(
    copy: Path, run_id: str, changed: dict[str, jax.Array], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        store(copy, run_id=run_id).restore("trunk", state(0) | changed, 100)
    assert restored(copy) == (8, [])


def test_a_layout_does_not_depend_on_the_mesh() -> None:
    engines = [engine_for(run_spec(), make_mesh(MeshConfig(1, n))) for n in (1, 4)]
    assert layout(engines[0].abstract_state) == layout(engines[1].abstract_state)
    assert "float32[32,16]" in layout(engines[0].abstract_state).values()


def test_training_goes_on_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step donates the very arrays that are being saved."""
    go_on = threading.Event()
    checksums = checkpoint.checksums
    monkeypatch.setattr(checkpoint, "checksums", lambda path: go_on.wait(60) and checksums(path))
    spec = run_spec()
    engine = engine_for(spec, make_mesh(MeshConfig()))
    current = initial_state(engine, 0)
    expected = jax.tree.map(lambda leaf: np.array(leaf, copy=True), current)
    factors = lr_factors(spec.schedule, Segment(0, INTERVAL), 0, INTERVAL)
    made = store(tmp_path)
    made.save("trunk", 4, current)
    for _ in range(3):
        current, _ = advance(engine, current, windows(INTERVAL, BATCH), factors, spec.optim)
    assert not (tmp_path / "trunk" / "4").exists()
    go_on.set()
    found = made.restore("trunk", engine.abstract_state, 100)
    made.close()
    assert found is not None
    jax.tree.map(np.testing.assert_array_equal, found[1], expected)
    changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), current["params"], expected["params"])
    assert all(jax.tree.leaves(changed))


def test_a_save_that_fails_is_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "checksums", full)
    made = store(tmp_path)
    made.save("trunk", 4, state(4))
    with pytest.raises(OSError, match="No space left"):
        made.close()


def test_a_run_refuses_a_copied_folder_and_says_so(tmp_path: Path) -> None:
    """Somebody copied the checkpoints of one run into the folder of another."""
    sweep, ends = SweepFolder(tmp_path), (4 * RASTER,)
    mine, theirs = Job(run_spec(), ends), Job(run_spec(seed=1), ends)
    asked = iter(range(100))
    stopped = run_job(theirs, sweep, inputs(should_stop=lambda: next(asked) >= 2))
    assert stopped["status"] == "interrupted"
    shutil.copytree(sweep.run(theirs.spec.run_id).checkpoints, sweep.run(mine.spec.run_id).checkpoints)
    reply = run_job(mine, sweep, inputs())
    assert reply["status"] == "failed"
    assert f"of recipe {theirs.spec.run_id}, expected {mine.spec.run_id}; delete" in reply["error"]
    assert not reply["error"].startswith("InputError")
    assert sweep.run(mine.spec.run_id).read_state().error == reply["error"]
