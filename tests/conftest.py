"""Shared set-up: CPU with eight virtual devices, a compile cache of the session, small recipes."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8 --xla_cpu_multi_thread_eigen=false"
os.environ["CI"] = "true"
# A vector added to a matrix is said to be one, by [None, :]: silent broadcasting hides wrong axes.
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
# Tests of one shape compile it once, in whichever process.
os.environ["JAX_COMPILATION_CACHE_DIR"] = (
    os.environ["JAX_COMPILATION_CACHE_DIR"]
    if "PYTEST_XDIST_WORKER" in os.environ
    else tempfile.mkdtemp(prefix="compiled-")
)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
# The workers of pytest share the cores already.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# Without bytecode every process compiles this repository anew, for half a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from jaxtyping import install_import_hook
from omegaconf import DictConfig

from harness.config import settings
from tests import ROOT, small_sweeps

sys.dont_write_bytecode = False
# Traces and tables make millions of objects that live long: the usual thresholds cost 5 % of the time.
gc.set_threshold(100_000, 50, 100)
# No test cuts the power: what is written need not reach the disk.
os.fsync = lambda _: None
# Shapes and types of annotations are checked at every call, in modules that are imported from here on.
install_import_hook(["harness.model", "harness.engine", "harness.evaluate"], "beartype.beartype")

# Modules that take long, the longest first, so that all workers end at about the same time. Those of Ray and
# Slurm wait for daemons, and should not do so together. Quick tests are the others.
LONG_MODULES = [
    "tests/harness/launch/slurm/test_slurm.py",
    "tests/harness/train/test_killed.py",
    "tests/harness/sweep/test_sweep.py",
    "tests/harness/launch/ray/test_ray.py",
    "tests/harness/engine/test_mesh.py",
    "tests/harness/sweep/test_damage.py",
    "tests/test_readme.py",
    "tests/test_readme_numbers.py",
    "tests/test_foreign_folders.py",
    "tests/harness/sweep/test_stored_smoke.py",
    "tests/harness/data/test_curate.py",
    "tests/harness/train/test_pack.py",
    "tests/test_notebooks.py",
    "tests/harness/launch/local/test_local.py",
    "tests/harness/engine/test_step.py",
    "tests/harness/evaluate/test_tasks.py",
    "tests/analysis/report/test_emergence.py",
    "tests/analysis/report/test_report.py",
    "tests/analysis/uncertainty/test_profile.py",
    "tests/analysis/report/test_live.py",
    "tests/analysis/report/test_live_sections.py",
    "tests/analysis/test_accessibility.py",
    "tests/analysis/report/test_live_budget.py",
    "tests/analysis/report/test_looks.py",
    "tests/analysis/report/test_live_curves.py",
    "tests/analysis/report/test_live_selection.py",
    "tests/analysis/report/test_live_surface.py",
    "tests/analysis/report/test_live_keyboard.py",
    "tests/analysis/forecast/test_forecast.py",
    "tests/test_package.py",
    "tests/harness/train/test_loop.py",
    "tests/analysis/study/test_study.py",
    "tests/harness/sweep/test_forecasts.py",
    "tests/harness/test_coordinate_check.py",
    "tests/harness/engine/test_expert_parallel.py",
    "tests/analysis/compare/test_study.py",
    "tests/harness/weights/test_sampling.py",
    "tests/harness/evaluate/test_decoding.py",
    "tests/harness/sweep/test_survival.py",
    "tests/analysis/uncertainty/test_fit_warnings.py",
    "tests/analysis/contest/test_adequacy.py",
    "tests/harness/bench/test_bench.py",
    "tests/analysis/uncertainty/test_coverage.py",
    "tests/analysis/learning_rate/test_rule.py",
    "tests/analysis/contest/test_recommended.py",
    "tests/harness/data/text/test_corpora.py",
    "tests/analysis/uncertainty/test_bootstrap.py",
    "tests/harness/weights/test_kept.py",
    "tests/harness/data/test_build_streamed.py",
    "tests/analysis/test_fit_fuzz.py",
    "tests/analysis/test_front_door.py",
    "tests/analysis/published/test_published.py",
    "tests/analysis/test_intervals.py",
    "tests/harness/model/test_moe.py",
    "tests/analysis/replications/test_study.py",
    "tests/analysis/uncertainty/test_adequacy.py",
    "tests/harness/replicate/test_command.py",
    "tests/harness/runs/test_finished.py",
    "tests/harness/test_cancel.py",
    "tests/harness/sweep/test_resume.py",
    "tests/harness/engine/test_optim.py",
    "tests/analysis/test_fit.py",
    "tests/analysis/approaches/test_isoflop.py",
    "tests/analysis/test_frontier.py",
    "tests/analysis/plots/test_plots.py",
    "tests/analysis/emergence/test_command.py",
    "tests/analysis/solve/test_search.py",
    "tests/analysis/learning_rate/test_study.py",
    "tests/analysis/test_large_tables.py",
    "tests/analysis/emergence/test_verdict.py",
    "tests/analysis/test_foreign_tables.py",
    "tests/analysis/contest/test_objections.py",
    "tests/harness/engine/test_precision.py",
    "tests/analysis/bench/test_bench.py",
    "tests/harness/model/test_decoder.py",
    "tests/harness/train/test_checkpoint.py",
    "tests/analysis/uncertainty/test_covariance.py",
    "tests/analysis/emergence/statistics/test_operating_characteristics.py",
    "tests/harness/data/text/test_remote.py",
    "tests/analysis/laws/test_recovery.py",
    "tests/harness/launch/test_worker.py",
    "tests/harness/model/test_flash.py",
    "tests/analysis/contest/test_agreement.py",
    "tests/analysis/averaging/test_coverage.py",
    "tests/harness/evaluate/test_text_loss.py",
    "tests/harness/model/test_dropout.py",
    "tests/harness/aot/test_aot.py",
    "tests/analysis/report/test_live_laws.py",
    "tests/analysis/report/test_lead.py",
    "tests/analysis/report/test_live_several.py",
    "tests/analysis/report/test_table_report.py",
    "tests/analysis/report/test_together.py",
    "tests/analysis/plan/test_plan.py",
    "tests/analysis/compare/test_calibrate.py",
    "tests/analysis/curves/test_forecast.py",
    "tests/analysis/explorer/test_answers.py",
    "tests/analysis/approaches/test_description.py",
    "tests/harness/test_export.py",
    "tests/analysis/forecast/test_series.py",
    "tests/test_preloaded.py",
    "tests/harness/data/tasks/test_documents.py",
    "tests/analysis/design/test_command.py",
    "tests/harness/bench/test_shards.py",
    "tests/analysis/schemas/test_command.py",
    "tests/analysis/serve/test_command.py",
    "tests/analysis/design/test_choose.py",
    "tests/harness/sweep/test_own_ladder.py",
]


# Programs of earlier sessions that passed, with which the next one begins.
KEPT_PROGRAMS = ROOT / ".pytest_cache" / "compiled"
LARGEST_KEPT_BYTES = 200e6

compose = settings.compose


@cache
def composed(overrides: tuple[str, ...]) -> DictConfig:
    return compose("config", list(overrides))


def compose_once(name: str, overrides: list[str]) -> DictConfig:
    """Compose equal overrides of sweeps/ once in a process: Hydra takes a fifth of a second each time.

    `load` makes plain containers of what it composes, and changes nothing in it.
    """
    return composed(tuple(overrides)) if name == "config" else compose(name, overrides)


settings.compose = compose_once


def pytest_configure() -> None:
    """Begin with the programs that are kept."""
    if "PYTEST_XDIST_WORKER" not in os.environ and KEPT_PROGRAMS.is_dir():
        shutil.copytree(KEPT_PROGRAMS, os.environ["JAX_COMPILATION_CACHE_DIR"], dirs_exist_ok=True)


def pytest_sessionfinish(exitstatus: int) -> None:
    """Keep the programs of a session that passed."""
    if "PYTEST_XDIST_WORKER" in os.environ or exitstatus != pytest.ExitCode.OK:
        return
    if sum(path.stat().st_size for path in KEPT_PROGRAMS.glob("*")) > LARGEST_KEPT_BYTES:
        shutil.rmtree(KEPT_PROGRAMS)
    KEPT_PROGRAMS.mkdir(parents=True, exist_ok=True)
    for path in Path(os.environ["JAX_COMPILATION_CACHE_DIR"]).iterdir():
        if not (KEPT_PROGRAMS / path.name).exists():
            # Under its name only when it is whole: another session may read it.
            copied = shutil.copy(path, KEPT_PROGRAMS / f".{path.name}.{os.getpid()}")
            Path(copied).rename(KEPT_PROGRAMS / path.name)


def pytest_unconfigure() -> None:
    """Leave nothing else behind."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long modules first, mark the others quick, and skip tests of minutes unless they are asked for."""
    place = {ROOT / name: i for i, name in enumerate(LONG_MODULES)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
    skip = pytest.mark.skip(reason="slow: set RUN_SLOW=1 to run it")
    for item in items:
        if item.path not in place and "slow" not in item.keywords:
            item.add_marker("quick")
        if "slow" in item.keywords and not os.environ.get("RUN_SLOW"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Makes a folder in whichever process of the session comes first; the other processes wait for it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def made(name: str, make: Callable[[Path], None]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def long_sweep(made_once: Callable[[str, Callable[[Path], None]], Path], data_cache: Path) -> Path:
    """Three seeds of LONG that one worker trained and nobody disturbed; copy it before you change it."""

    def make(folder: Path) -> None:
        arguments = (small_sweeps.LONG, small_sweeps.THREE_SEEDS, "launcher.n_workers=1")
        done = small_sweeps.train(folder, data_cache, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    return made_once("long_sweep", make)


@pytest.fixture(scope="session")
def data_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for corpora and compiled programs that outlives single tests."""
    return Path(os.environ.get("SCALING_CACHE", tmp_path_factory.getbasetemp().parent / "cache"))
