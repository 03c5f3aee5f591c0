"""Checkpoints of one run: atomic, the last two of the trunk and of each unfinished branch.

The training state is all there is to keep: the data position follows from the step, since the order of
windows is a function of seed and step.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from orbax.checkpoint import v1 as ocp

KEEP = 2
log = logging.getLogger(__name__)


class CheckpointStore:
    """Checkpoints by segment name and step under one folder."""

    def __init__(self, folder: Path):
        self._folder = folder.resolve()

    def _open(self, name: str) -> ocp.training.Checkpointer:
        keep = ocp.training.preservation_policies.LatestN(KEEP)
        return ocp.training.Checkpointer(
            self._folder / name, preservation_policy=keep, cleanup_tmp_directories=True
        )

    def save(self, name: str, step: int, state: Any) -> None:
        """Write one checkpoint; it appears whole or not at all."""
        with self._open(name) as checkpointer:
            if step not in [found.step for found in checkpointer.checkpoints]:
                checkpointer.save(step, state, force=True)

    def restore(self, name: str, abstract_state: Any, at_most: int) -> tuple[int, Any] | None:
        """Latest readable checkpoint with step ≤ `at_most`, or None; an unreadable one is passed over."""
        if not (self._folder / name).exists():
            return None
        with self._open(name) as checkpointer:
            steps = [found.step for found in checkpointer.checkpoints]
            for step in sorted((s for s in steps if s <= at_most), reverse=True):
                try:
                    return step, checkpointer.load(step, abstract_state)
                # Whatever Orbax or TensorStore raise on damaged files, the checkpoint before is the cure.
                except Exception as error:
                    log.warning("checkpoint %s/%d is unreadable, using an earlier one: %s", name, step, error)
        return None

    def drop(self, name: str) -> None:
        """Delete a finished branch's checkpoints."""
        shutil.rmtree(self._folder / name, ignore_errors=True)
