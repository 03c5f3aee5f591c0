"""Checkpoints of one run: written while training goes on, the last two of the trunk and of each branch.

The training state is all there is to keep: the data position follows from the step, since the order of
windows is a function of seed and step.

Orbax writes the arrays and makes a checkpoint appear whole or not at all. It does not notice a flipped bit in
them, and damaged files make it fail in many ways, so every checkpoint carries a manifest: the recipe, the
layout of its tree (whatever the mesh) and a checksum of each file. Only files that match reach Orbax.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from harness.engine import distributed
from harness.records.errors import InputError
from harness.records.files import write_json

KEEP = 2
MANIFEST = "manifest.json"
# Times and names that Orbax writes once more after the manifest, and does without.
ORBAX_TIMES = "_CHECKPOINT_METADATA"
# Files are read back for their checksums at about 1 GB/s; of larger checkpoints only the sizes are kept.
CHECKSUM_BYTES = 16 * 2**30


class CheckpointStore:
    """Checkpoints by segment name and step under one folder; to be closed.

    One save is under way at a time. `warn` is told of damaged checkpoints.
    """

    def __init__(self, folder: Path, run_id: str, warn: Callable[[str], None]):
        self._folder = folder.resolve()
        self._run_id = run_id
        self._warn = warn
        self._open: dict[str, ocp.training.Checkpointer] = {}
        # What is being written: segment, step and layout.
        self._under_way: tuple[str, int, dict[str, str]]

    def save(self, name: str, step: int, state: Any) -> None:
        """Begin to write a checkpoint, and return as soon as the state may be donated."""
        self.wait()
        checkpointer = self._checkpointer(name)
        if step not in [found.step for found in checkpointer.checkpoints]:
            self._under_way = name, step, layout(state)
            checkpointer.save_async(step, state, force=True)

    def restore(self, name: str, abstract_state: Any, at_most: int) -> tuple[int, Any] | None:
        """Latest sound checkpoint with step ≤ `at_most`, or None.

        Those beyond it and damaged ones are deleted: they would count among the last two.
        Raises InputError where it is sound and belongs to another recipe or layout.
        """
        self.close()
        folder = self._folder / name
        step = distributed.told_by_first(self._latest_sound(folder, at_most) if distributed.is_first() else 0)
        if step < 0:
            return None
        self._check_origin(folder / str(step), abstract_state)
        return step, self._checkpointer(name).load(step, abstract_state)

    def drop(self, name: str) -> None:
        """Delete a finished branch's checkpoints."""
        self.close()
        if distributed.is_first():
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def wait(self) -> None:
        """Return when the save under way has ended; raises what it raised."""
        for checkpointer in self._open.values():
            checkpointer.wait()

    def close(self) -> None:
        """Wait for the save under way and let go of all folders."""
        while self._open:
            self._open.popitem()[1].close()

    def _checkpointer(self, name: str) -> ocp.training.Checkpointer:
        if name not in self._open:
            context = ocp.Context()
            # Called by the first process when all have written their files, before the folder is renamed. A
            # function, since Orbax copies its options in depth: of a method it would copy this very store.
            context.async_options.post_finalization_callback = lambda: self._seal()
            self._open[name] = ocp.training.Checkpointer(
                self._folder / name,
                context=context,
                preservation_policy=ocp.training.preservation_policies.LatestN(KEEP),
                cleanup_tmp_directories=True,
            )
        return self._open[name]

    def _seal(self) -> None:
        name, step, tree = self._under_way
        (written,) = (self._folder / name).glob(f"{step}.*")
        manifest = {"run_id": self._run_id, "layout": tree, "files": checksums(written)}
        write_json(written / MANIFEST, manifest | {"check": own_check(manifest)})

    def _latest_sound(self, folder: Path, at_most: int) -> int:
        steps = sorted((int(path.name) for path in folder.glob("*") if path.name.isdigit()), reverse=True)
        for step in steps:
            path = folder / str(step)
            problem = damage(path) if step <= at_most else None
            if step <= at_most and problem is None:
                return step
            if problem is not None:
                self._warn(
                    f"checkpoint {folder.name}/{step} is damaged ({problem}); the run goes on from before it"
                )
            remove = shutil.rmtree if path.is_dir() else Path.unlink
            remove(path)
        return -1

    def _check_origin(self, path: Path, abstract_state: Any) -> None:
        manifest = json.loads((path / MANIFEST).read_text())
        repair = f"delete {path.parent.parent} to train this run from its beginning"
        if manifest["run_id"] != self._run_id:
            raise InputError(
                f"{path} is a checkpoint of recipe {manifest['run_id']}, expected {self._run_id}; {repair}"
            )
        expected, found = layout(abstract_state), manifest["layout"]
        for leaf in sorted(expected.keys() | found.keys()):
            ours, theirs = expected.get(leaf, "nothing"), found.get(leaf, "nothing")
            if ours != theirs:
                raise InputError(f"{path} holds {theirs} for {leaf}, expected {ours}; {repair}")


def layout(state: Any) -> dict[str, str]:
    """Shape and type of every array by its path in the tree: `float32[16,64]`."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" for path, leaf in leaves
    }


def checksums(folder: Path) -> dict[str, list[int | None]]:
    """Size and CRC-32 of every file that a restore needs; no checksums where they are very large."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ORBAX_TIMES)
    files = {path: path.stat().st_size for path in found}
    light = sum(files.values()) <= CHECKSUM_BYTES
    return {str(p.relative_to(folder)): [n, crc(p) if light else None] for p, n in files.items()}


def crc(path: Path) -> int:
    """CRC-32 of a file."""
    total = 0
    with open(path, "rb") as file:
        for block in iter(partial(file.read, 1 << 24), b""):
            total = zlib.crc32(block, total)
    return total


def own_check(manifest: dict[str, Any]) -> int:
    """Checksum of a manifest's content."""
    return zlib.crc32(json.dumps(manifest).encode())


def damage(path: Path) -> str | None:
    """What is wrong with the files of a checkpoint, in words; None where all are as they were written."""
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        if manifest.pop("check") != own_check(manifest):
            return f"{MANIFEST} has other content than was written"
        for name, (size, check) in manifest["files"].items():
            if (path / name).stat().st_size != size:
                return f"{name} was cut off or has grown"
            if check is not None and crc(path / name) != check:
                return f"{name} has other content than was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).relative_to(path)} is missing"
    except NotADirectoryError:
        return "it is no folder"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is not readable"
    return None
