"""Asynchronous checkpoints of one run: the last two of the trunk and of each branch.

A run that goes back, for a token count that a later sweep added, leaves the checkpoints ahead of it as they
are. Reading deletes none but damaged ones.

A checkpoint holds the training state alone. The data position follows from the step, because the order of
windows is a function of seed and step.

Orbax writes the arrays, and a checkpoint appears whole or not at all. But Orbax does not notice a flipped
bit, and it fails in many ways on damaged files. So every checkpoint has a manifest: the run id, the shapes of
its tree and a checksum of each file. Only files that match their manifest reach Orbax.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from harness.engine import distributed
from harness.records.errors import InputError
from harness.records.files import write_json

# Two, so that one is left if the newest is damaged.
KEEP = 2
MANIFEST = "manifest.json"
# A file that Orbax writes again after the manifest; a restore does not need it.
ORBAX_TIMES = "_CHECKPOINT_METADATA"
# Checksums read the files back, at about 1 GB/s; larger checkpoints record file sizes alone.
CHECKSUM_BYTES = 16 * 2**30


class LastTwo(ocp.training.preservation_policies.PreservationPolicy):
    """Preserve the last KEEP checkpoints up to the newest save, and the last KEEP of all.

    The two differ while a run trains again what lies before its later checkpoints.

    Args:
        newest: Returns the step of the newest save.
    """

    def __init__(self, newest: Callable[[], int]):
        self._newest = newest

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:  # noqa: ARG002
        """Return for each checkpoint whether it stays."""
        # Sorted, because Orbax lists them in the order of saving.
        steps = sorted(found.step for found in checkpoints)
        recent = [step for step in steps if step <= self._newest()]
        kept = {*recent[-KEEP:], *steps[-KEEP:]}
        return [found.step in kept for found in checkpoints]


class CheckpointStore:
    """Checkpoints of one run by segment name and step. Close it after use.

    Args:
        folder: Folder of the checkpoints.
        run_id: Identity of the recipe, written to every manifest and checked on restore.
        warn: Called with a sentence about each damaged checkpoint.

    At most one save is in progress at a time.
    """

    def __init__(self, folder: Path, run_id: str, warn: Callable[[str], None]):
        self._folder = folder.resolve()
        self._run_id = run_id
        self._warn = warn
        self._open: dict[str, ocp.training.Checkpointer] = {}
        # Segment, step and tree layout of the save in progress.
        self._under_way: tuple[str, int, dict[str, str]]
        # Step of the newest save of each segment.
        self._newest: dict[str, int] = {}

    def save(self, name: str, step: int, state: Any) -> None:
        """Begin to write a checkpoint in the background.

        Returns as soon as the arrays are copied to the host, so that the next step may donate the state.

        Raises:
            Exception: The error of the previous save, if it failed.
        """
        self.wait()
        checkpointer = self._checkpointer(name)
        self._newest[name] = step
        # A branch saves its trunk with every checkpoint of its own, so the trunk's step may exist already.
        if step not in [found.step for found in checkpointer.checkpoints]:
            self._under_way = name, step, layout(state)
            checkpointer.save_async(step, state, force=True)

    def restore(self, name: str, abstract_state: Any, at_most: int) -> tuple[int, Any] | None:
        """Return step and state of the latest intact checkpoint up to step `at_most`, or None.

        Damaged checkpoints are deleted, because Orbax fails on them; later ones stay.

        Args:
            name: Segment name.
            abstract_state: Shapes, dtypes and shardings of the state.
            at_most: Largest step.

        Raises:
            InputError: If the checkpoint belongs to another recipe or has other shapes.
        """
        # Closed first, because Orbax remembers the checkpoints of a folder, and some are deleted below.
        self.close()
        folder = self._folder / name
        self._check_recipe(folder)
        # Only the first process checks and deletes: several would delete the same files.
        step = distributed.told_by_first(self._latest_sound(folder, at_most) if distributed.is_first() else 0)
        if step < 0:
            return None
        self._check_shapes(folder / str(step), abstract_state)
        try:
            return step, self._checkpointer(name).load(step, abstract_state)
        except (KeyError, ValueError) as error:
            if not distributed.is_alone():
                raise
            # Two processes wrote it at once, one of which was thought dead, and it was sealed so.
            self._warn(
                f"checkpoint {name}/{step} cannot be loaded ({type(error).__name__}); the run goes on from "
                "before it"
            )
            self.close()
            shutil.rmtree(folder / str(step))
        return self.restore(name, abstract_state, step - 1)

    def drop(self, name: str) -> None:
        """Delete all checkpoints of a segment."""
        self.close()
        if distributed.is_first():
            shutil.rmtree(self._folder / name, ignore_errors=True)

    def wait(self) -> None:
        """Wait for the save in progress; raises its error if it failed."""
        for checkpointer in self._open.values():
            checkpointer.wait()

    def close(self) -> None:
        """Wait for the save in progress and close Orbax' checkpointers."""
        while self._open:
            self._open.popitem()[1].close()

    def _checkpointer(self, name: str) -> ocp.training.Checkpointer:
        if name not in self._open:
            context = ocp.Context()
            # Orbax calls this in the first process, after all have written and before the folder is renamed.
            # A lambda, because Orbax deep-copies its options, and a bound method would drag in this store.
            context.async_options.post_finalization_callback = lambda: self._seal()
            self._open[name] = ocp.training.Checkpointer(
                self._folder / name,
                context=context,
                preservation_policy=LastTwo(lambda: self._newest[name]),
                cleanup_tmp_directories=True,
            )
        return self._open[name]

    def _seal(self) -> None:
        """Write the manifest into the folder that Orbax is about to rename."""
        name, step, tree = self._under_way
        (written,) = (self._folder / name).glob(f"{step}.*")
        manifest = {"run_id": self._run_id, "layout": tree, "files": checksums(written)}
        write_json(written / MANIFEST, manifest | {"check": own_check(manifest)})

    def _latest_sound(self, folder: Path, at_most: int) -> int:
        """Return the step of the latest intact checkpoint up to `at_most`, or -1; delete damaged ones."""
        steps = sorted((int(path.name) for path in folder.glob("*") if path.name.isdigit()), reverse=True)
        for step in steps:
            path = folder / str(step)
            problem = damage(path)
            if problem is not None:
                self._warn(
                    f"checkpoint {folder.name}/{step} is damaged ({problem}); the run goes on from before it"
                )
                remove = shutil.rmtree if path.is_dir() else Path.unlink
                remove(path)
            elif step <= at_most:
                return step
        return -1

    def _check_recipe(self, folder: Path) -> None:
        """Raise InputError if a checkpoint belongs to another recipe: none of somebody else's is deleted."""
        for path in sorted(folder.glob(f"*/{MANIFEST}")):
            try:
                run_id = json.loads(path.read_text())["run_id"]
            except (OSError, ValueError, KeyError, TypeError):
                continue  # Damaged, or deleted by the first process just now.
            if run_id != self._run_id and damage(path.parent) is None:
                raise InputError(
                    f"{path.parent} is a checkpoint of recipe {run_id}, expected {self._run_id}; "
                    f"{self._repair()}"
                )

    def _repair(self) -> str:
        return f"delete {self._folder} to train this run from its beginning"

    def _check_shapes(self, path: Path, abstract_state: Any) -> None:
        """Raise InputError if the checkpoint has other shapes."""
        manifest = json.loads((path / MANIFEST).read_text())
        expected, found = layout(abstract_state), manifest["layout"]
        for leaf in sorted(expected.keys() | found.keys()):
            ours, theirs = expected.get(leaf, "nothing"), found.get(leaf, "nothing")
            if ours != theirs:
                raise InputError(f"{path} holds {theirs} for {leaf}, expected {ours}; {self._repair()}")


def layout(state: Any) -> dict[str, str]:
    """Return dtype and shape of every array, such as `float32[16,64]`, by its path in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" for path, leaf in leaves
    }


def checksums(folder: Path) -> dict[str, list[int | None]]:
    """Return [bytes, CRC-32] of every file that a restore needs; None for the CRC of huge checkpoints."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ORBAX_TIMES)
    files = {path: path.stat().st_size for path in found}
    light = sum(files.values()) <= CHECKSUM_BYTES
    return {str(p.relative_to(folder)): [n, crc(p) if light else None] for p, n in files.items()}


def crc(path: Path) -> int:
    """Return the CRC-32 of a file, read in blocks of 16 MiB."""
    total = 0
    with open(path, "rb") as file:
        for block in iter(partial(file.read, 1 << 24), b""):
            total = zlib.crc32(block, total)
    return total


def own_check(manifest: dict[str, Any]) -> int:
    """Return the CRC-32 of a manifest's content."""
    return zlib.crc32(json.dumps(manifest).encode())


def damage(path: Path) -> str | None:
    """Return the damage of a checkpoint in words, or None if its files match the manifest."""
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
    except IsADirectoryError as error:
        return f"{Path(error.filename).relative_to(path)} is a folder"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is not readable"
    return None
