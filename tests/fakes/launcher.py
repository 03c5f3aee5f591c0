"""A launcher that trains in this very process, so that a test need not start another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.engine import compiled
from harness.launch.interface import Handle, Outcome
from harness.launch.stop import StopFlag
from harness.launch.worker import WorkerConfig, build_inputs, run_pack
from harness.recipe.spec import Pack
from harness.records.paths import SweepFolder
from harness.sweep import sweep


class HereLauncher:
    """Trains a pack at the poll after its submission."""

    n_workers = 1
    detach = False

    def __init__(self, config: WorkerConfig):
        self._folder = SweepFolder(Path(config.sweep))
        self._inputs = build_inputs(config, StopFlag())
        self._waiting: list[Handle] = []

    def submit(self, pack: Pack, spare: bool = False) -> Handle:
        self._waiting.append(Handle(pack, 1.0, spare, lambda: None))
        return self._waiting[-1]

    def poll(self, seconds: float) -> list[Handle]:  # noqa: ARG002
        due, self._waiting = self._waiting, []
        return [self._trained(handle) for handle in due]

    def _trained(self, handle: Handle) -> Handle:
        answers = run_pack(handle.pack, self._folder, self._inputs, lanes=1)
        pairs = zip(handle.pack, answers, strict=True)
        return handle.end(tuple(Outcome.from_reply(job, answer) for job, answer in pairs))

    def close(self) -> None: ...

    def stop(self) -> None: ...

    def spent(self, seconds: float) -> dict[str, float]:  # noqa: ARG002
        return {}


def train_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `python -m harness.sweep` train in this process, without measuring the machine."""
    monkeypatch.setattr(sweep, "make_launcher", lambda settings, config, cost: HereLauncher(config))  # noqa: ARG005
    monkeypatch.setattr(sweep, "matmul_rate", lambda: 1e10)
    monkeypatch.setattr(compiled, "use_cache", lambda folder: None)  # noqa: ARG005
