"""A plan is made anywhere: without the devices, their memory, Slurm or Ray."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.config.settings import load
from harness.execution.execution import Execution, MeshConfig
from harness.grid.expansion import expand
from harness.launch.local import environment
from harness.launch.ray import cluster
from harness.launch.slurm import slurm
from harness.plan import plan
from harness.replicate import __main__ as replicate
from harness.sweep import __main__ as sweep
from harness.sweep.folder_recipe import recipe_of
from harness.sweep.launchers import elsewhere_note, planned_machine
from harness.sweep.preparation import Prepared
from harness.sweep.record import MACHINE_KEYS
from harness.sweep.sweep import Sweep
from harness.track import sinks
from tests.fakes import token_files
from tests.small_sweeps import DATA, SMALL

Run = Callable[..., tuple[int, str, str]]
CANNOT = "this machine can plan the sweep, but not start it: "
GPU = ["model.precision=bf16", "grid.rungs=[64,128]", "plan.device=h100:8"]


@pytest.fixture
def run(
    tmp_path: Path, data_cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Exit code, standard output on one line, and standard error of the command."""
    monkeypatch.setattr("harness.sweep.sweep.matmul_rate", lambda: 1e10)
    monkeypatch.delenv("XLA_CLIENT_MEM_FRACTION", raising=False)

    def call(*overrides: str) -> tuple[int, str, str]:
        given = [*SMALL, f"results_dir={tmp_path / 'results'}", f"cache_dir={data_cache}", *overrides]
        code = sweep.main(given)
        said = capsys.readouterr()
        assert not (tmp_path / "results").exists()
        return code, " ".join(said.out.split()), said.err

    return call


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("a plan for other devices asks this machine for nothing")


@pytest.mark.parametrize("overrides", [["launcher=slurm", "launcher.gres=gpu:8"], ["launcher=slurm"]])
def test_without_sbatch_a_plan_is_printed(
    run: Run, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda _: True)
    monkeypatch.setattr(slurm.shutil, "which", lambda _: None)
    code, said, error = run(*overrides, "dry_run=true")
    assert (code, error) == (0, "")
    assert f"{CANNOT}launcher=slurm needs sbatch" in said
    assert "of one CPU core of this machine for each worker" in said
    assert "plan.device=h100:1" in said
    assert "on 64 worker(s)" in said
    code, said, error = run(*overrides)
    assert (code, said) == (2, "")
    assert error.startswith("error: launcher=slurm needs sbatch")


def test_without_a_ray_cluster_a_plan_is_printed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda _: None)
    code, said, _ = run("launcher=ray", "dry_run=true")
    assert code == 0
    assert f"{CANNOT}launcher=ray needs Ray" in said
    assert "on 1 worker(s)" in said
    assert "on 5 worker(s)" in run("launcher=ray", "launcher.n_workers=5", "dry_run=true")[1]
    # What no cluster could serve is wrong in a plan too.
    assert run("launcher=ray", "launcher.address=nowhere", "dry_run=true")[0] == 2
    assert run("launcher=ray", "launcher.detach=true", "dry_run=true")[0] == 2


def test_without_the_memory_a_plan_is_printed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "available_bytes", lambda: 1e8)
    code, said, _ = run("dry_run=true", "launcher.n_workers=2")
    assert code == 0
    assert re.search(CANNOT + r"2 workers need about 1\.4 GB for the largest rung and 0\.1 GB are free", said)
    code, _, error = run("launcher.n_workers=2")
    assert code == 2
    assert "2 workers need about 1.4 GB" in error


def test_without_device_platform_or_package_a_plan_is_printed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said, _ = run("execution.attention=cudnn", "model.precision=bf16", "dry_run=true")
    assert code == 0
    assert f"{CANNOT}execution.attention=cudnn needs a GPU" in said
    monkeypatch.setitem(sinks.MODULES, "wandb", "no_such_package")
    code, said, _ = run("sinks=[wandb]", "dry_run=true")
    assert code == 0
    assert f"{CANNOT}sinks=[wandb] needs no_such_package" in said
    assert "of one CPU core" not in said, "the minutes are those of this machine"
    assert run("sinks=[wandbb]", "dry_run=true")[0] == 2
    monkeypatch.setattr(environment, "_why", lambda *_: "JAX does not start")
    monkeypatch.setenv("JAX_PLATFORMS", "nonsense")
    code, said, _ = run("dry_run=true")
    assert code == 0
    assert f"{CANNOT}JAX does not start" in said


@pytest.mark.parametrize("launcher", ["local", "slurm", "ray"])
def test_a_plan_for_other_devices_asks_this_machine_for_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    for name in ("check_available", "check_here", "check_installed"):
        monkeypatch.setattr(f"harness.sweep.preparation.{name}", refuse)
    monkeypatch.setattr("harness.sweep.sweep.matmul_rate", refuse)
    code, said, error = run(*GPU, f"launcher={launcher}", "execution.attention=cudnn", "dry_run=true")
    assert (code, error) == (0, "")
    assert CANNOT not in said
    assert "8 × h100" in said


def test_the_plan_says_time_memory_and_cost(run: Run) -> None:
    _, said, _ = run(*GPU, "mesh.fsdp=4", "dry_run=true", "plan.price_per_hour=2.5")
    assert "4 cells, 4 to train" in said
    # A local worker with a mesh has the machine to itself.
    assert "on 8 × h100, 1 run(s) at a time, each on 4 (mesh.fsdp=4):" in said
    assert "4 of 8 × h100 stay idle" in said
    assert re.search(r"d128 1 0\.\d+ yes [\d.]+[kM] 0\.\d+ \d\.\d % \d+ s", said)
    assert "memory is counted from shapes, with a trunk beside its branch, against 60 GiB" in said
    assert "the speed is assumed, not measured: a step multiplies matrices at 50 % of the 989 TFLOP/s" in said
    found = re.search(r"about 1 min (\d\d) s on 8 × h100, (0\.\d+) device-hours, cost (0\.\d\d)", said)
    assert found
    hours = 8 * (60 + int(found[1])) / 3600
    assert float(found[2]) == pytest.approx(hours, rel=0.02)
    assert float(found[3]) == pytest.approx(2.5 * hours, abs=0.02)
    _, typed, _ = run(*GPU, "plan.device=h100:4", "mesh.fsdp=4", "dry_run=true", "plan.mfu=0.4")
    assert "40.0 %" in typed
    assert "the speed is what you typed: 40.0 % of the 989 TFLOP/s in bf16 of one h100" in typed
    assert "stay idle" not in typed
    assert "cost" not in typed


def test_cores_are_measured_here(run: Run) -> None:
    _, here, _ = run("dry_run=true", "launcher.n_workers=2", "grid.seeds=[0,1]")
    _, there, _ = run("dry_run=true", "plan.device=cpu:2", "grid.seeds=[0,1]")
    (time,) = re.findall(r"about (.+?) on 2 worker", here)
    assert f"about {time} on 2 CPU cores" in there
    assert "the speed is measured: a core of this machine" in there


def test_a_rung_without_room_says_what_to_type(run: Run) -> None:
    wide = ["grid.rungs=[4096]", "model.n_layers=4", "dry_run=true", "plan.device=v5e:16"]
    code, said, _ = run(*wide)
    assert code == 0
    found = re.search(
        r"d4096 does not fit: \d+ GiB are needed and a run can use 16 GiB of one v5e; type (mesh\S+)", said
    )
    assert found
    _, mended, _ = run(*wide, found[1])
    assert " yes " in mended
    assert "does not fit" not in mended


def test_on_a_real_run_only_the_estimate_is_for_other_devices(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver on a login node plans for the devices of its jobs, and trains as ever."""
    carried: list[Prepared] = []

    def carry_out(_: Sweep, ready: Prepared) -> int:
        carried.append(ready)
        # Packs are those of the launcher's platform, which here is a CPU.
        assert ready.lanes(ready.plan.cells[0].spec.model) == 1
        return 0

    monkeypatch.setattr(Sweep, "carry_out", carry_out)
    code, said, _ = run("plan.device=h100:8", "launcher.n_workers=2")
    assert code == 0
    assert "on 8 × h100, 2 run(s) at a time" in said
    assert [ready.at_once for ready in carried] == [2]
    # What this machine lacks is refused as ever.
    code, _, error = run("plan.device=h100:8", "execution.attention=cudnn", "model.precision=bf16")
    assert code == 2
    assert "execution.attention=cudnn needs a GPU" in error


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["plan.device=h10:8"], ["plan.device=h10:8 is not known", "v5e, v5p", "did you mean h100?"]),
        (["plan.device=h100:8", "mesh.fsdp=3", "optim.batch_size=6"],
         ["mesh.fsdp=3 takes 3 devices", "plan.device=h100:8", "plan.device=h100:9"]),
        (["plan.device=h100:8", "mesh.fsdp=16", "optim.batch_size=16"],
         ["takes 16 devices for a run", "plan.device=h100:16"]),
        (["plan.price_per_hour=2"], ["plan.price_per_hour=2", "add plan.device=h100:8"]),
        (["plan.mfu=0.3"], ["plan.mfu=0.3", "add plan.device=h100:8"]),
        (["plan.device=cpu:2", "plan.mfu=0.3"], ["plan.mfu=0.3", "leave plan.mfu out"]),
        (["plan.device=h100:8", "plan.mfu=40"], ["plan.mfu=40", "above 0 and below 1"]),
        (["plan.device=h100:8", "plan.price_per_hour=-1"], ["plan.price_per_hour=-1.0", "above 0"]),
        (["plan.device=h100:8", "plan.price_per_hour=dear"], ["a number was expected"]),
        (["plan.devise=h100:8"], ["did you mean plan.device"]),
        (["plan.device=v5e:8", "model.precision=fp16"], ["fp16 is not there on TPUs"]),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_one_sentence(run: Run, overrides: list[str], words: list[str]) -> None:
    code, _, error = run(*overrides, "dry_run=true")
    assert code == 2
    assert error.count("\n") == 1
    assert [word for word in words if word not in error] == []


def test_the_number_of_runs_at_a_time() -> None:
    def at_once(mesh: MeshConfig, *overrides: str) -> int:
        settings = load(["+grid=smoke", "plan.device=h100:8", *overrides])
        made = planned_machine(settings.plan, settings.launcher, mesh, Execution())
        assert made is not None
        return made.at_once

    assert at_once(MeshConfig()) == 8
    assert at_once(MeshConfig(), "launcher.n_workers=3") == 3
    assert at_once(MeshConfig(), "launcher.n_workers=20") == 8
    assert at_once(MeshConfig(fsdp=4)) == 1
    assert at_once(MeshConfig(fsdp=4), "launcher=slurm") == 2
    assert at_once(MeshConfig(fsdp=4), "launcher=ray") == 2


def test_a_plan_for_this_machine_has_no_note_on_others() -> None:
    launcher = load(["+grid=smoke"]).launcher
    assert elsewhere_note(launcher, MeshConfig(), refused=False) == []
    (note,) = elsewhere_note(launcher, MeshConfig(data=4096), refused=False)
    assert "plan.device=h100:4096" in note
    cloud = load(["+grid=smoke", "launcher=ray", "+launcher.resources.TPU=4"]).launcher
    (note,) = elsewhere_note(cloud, MeshConfig(fsdp=4), refused=False)
    assert "plan.device=v5e:4" in note


def test_the_plan_is_no_part_of_what_is_trained_or_made_again() -> None:
    assert "plan" in MACHINE_KEYS
    plain, planned = (load([*SMALL, *more]) for more in ([], ["plan.device=h100:8", "plan.mfu=0.3"]))
    recipes = [recipe_of(each, DATA) for each in (plain, planned)]
    assert recipes[0] == recipes[1]
    ids = [[cell.spec.run_id for cell in expand(each, DATA, 32)] for each in (plain, planned)]
    assert ids[0] == ids[1]


def test_replications_are_planned_for_other_devices(
    tmp_path: Path, data_cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicate, "matmul_rate", refuse)
    given = [*SMALL, f"results_dir={tmp_path / 'results'}", f"cache_dir={data_cache}", "n=3", "dry_run=true"]
    assert replicate.main([*given, "plan.device=a100:4", "plan.price_per_hour=1"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    (one, total) = re.findall(r"about (?:(\d+) min )?(\d+) s on 4 × a100", said)
    seconds = [60 * int(minutes or 0) + int(rest) for minutes, rest in (one, total)]
    assert seconds[1] == pytest.approx(3 * seconds[0], abs=2)
    assert said.count("device-hours, cost") == 2


@pytest.mark.parametrize("kind", ["tokens", "mixture"])
def test_a_plan_for_other_devices_does_with_a_part_of_the_corpus(run: Run, tmp_path: Path, kind: str) -> None:
    (tmp_path / "part").mkdir()
    token_files.raw(tmp_path / "part" / "a.bin", token_files.documents(0, 100))
    where = f"data.path={tmp_path / 'part'}"
    if kind == "mixture":
        where = f"data.sources={{part: {{path: {tmp_path / 'part'}, weight: 1}}}}"
    given = [
        f"data={kind}", where, "data.tokenizer=none", f"data.vocab_size={token_files.VOCAB}",
        "data.eval_fraction=0.1", "data.curve_eval_tokens=1024", "grid.n_tokens=[4096,262144]",
    ]  # fmt: skip
    code, said, error = run(*given, "plan.device=h100:8", "dry_run=true")
    assert (code, error) == (0, "")
    found = re.search(
        r"note: this machine has too little of the corpus to train, so this is a plan alone: a run of "
        r"262,144 tokens reads the .* tokens .*?([\d.]+) times, at most 4 are allowed",
        said,
    )
    assert found
    assert float(found[1]) > 10
    assert "2 cells, 2 to train" in said
    # Training, and a plan for this machine, are refused as ever.
    for refused in (["dry_run=true"], ["plan.device=h100:8"]):
        code, _, error = run(*given, *refused)
        assert code == 2
        assert "times, at most 4 are allowed" in error


def test_a_small_corpus_is_scored_on_what_it_holds_out(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [" ".join(f"w{word}" for word in rng.integers(0, 900, 150)) for _ in range(90)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    given = [
        "data=text", f"data.path={tmp_path / 'rows.jsonl'}", "data.vocab_size=300", "data.eval_fraction=0.2",
        "data.eval_tokens=1048576", "data.curve_eval_tokens=1024", "dry_run=true",
    ]  # fmt: skip
    code, said, _ = run(*given)
    assert code == 0
    found = re.search(r"data.eval_tokens=1,048,576 became ([\d,]+): the corpus holds out no more", said)
    assert found is not None
    scored = int(found[1].replace(",", ""))
    assert scored % 32 == 0
    assert 1024 < scored < 100_000
    code, _, error = run(*given, "strict=true")
    assert code == 2
    assert "expected at least 1,048,608: raise data.eval_fraction=0.2" in error
    code, _, error = run(*given, "data.curve_eval_tokens=500000")
    assert code == 2
    assert "expected at least 500,032" in error
