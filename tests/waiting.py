"""Modules whose tests wait for other programs, and a process of pytest-xdist that takes them.

A test of Slurm waits for its daemons for most of its time. With `-n 2` such tests have a third process, so
that two others compute meanwhile.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

# In the order in which they run: two daemons that are started together keep each other from starting.
MODULES = (
    "tests/harness/launch/slurm/test_slurm.py",
    "tests/harness/launch/ray/test_ray.py",
    "tests/harness/data/test_curate.py",
    "tests/harness/test_cancel.py",
    "tests/analysis/test_accessibility.py",
    "tests/analysis/report/test_live.py",
    "tests/analysis/report/test_live_budget.py",
    "tests/analysis/report/test_live_curves.py",
    "tests/analysis/report/test_live_keyboard.py",
    "tests/analysis/report/test_live_sections.py",
    "tests/analysis/report/test_live_selection.py",
    "tests/analysis/report/test_live_surface.py",
    "tests/analysis/report/test_looks.py",
)


class WaitingApart(LoadFileScheduling):
    """Modules go to processes as with `--dist loadfile`; the last process takes only those that wait."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        waits = node.gateway.id == f"gw{self.numnodes - 1}"
        own = [name for name in self.workqueue if (name in MODULES) == waits]
        if own:
            self.workqueue.move_to_end(own[0], last=False)
        elif waits:
            node.shutdown()
            return
        super()._assign_work_unit(node)


def add_process(config: pytest.Config) -> None:
    """One more process than `-n` asks for, if it asks for any."""
    if config.option.numprocesses:
        config.option.tx = [*config.option.tx, "popen"]
