"""Utilisation that the runs of a sweep reached on such devices as its plan is made for."""

from __future__ import annotations

from dataclasses import asdict
from statistics import median

from harness.execution.devices import found_device
from harness.grid.cells import Cell
from harness.plan.machine import Machine, step_flops
from harness.records.errors import Damaged
from harness.records.paths import SweepFolder
from harness.records.run_files import read_attempts
from harness.runs.collect import collect_curves


def measured_mfu(folder: SweepFolder, cells: list[Cell], machine: Machine) -> dict[str, float]:
    """Return the MFU by rung: the median over the runs of this folder on the machine's devices and mesh.

    Args:
        folder: folder of the sweep.
        cells: cells of the plan.
        machine: the machine.

    Returns:
        Rungs with logged steps on such devices; the others are missing.
    """
    sheet = machine.devices.accelerator
    if sheet is None or not folder.runs.exists():
        return {}
    specs = {cell.spec.run_id: cell.spec for cell in cells}
    there = {run_id for run_id in specs if _was_trained_on(folder, run_id, machine)}
    damaged: list[Damaged] = []
    curves = collect_curves(folder, [cell for cell in cells if cell.spec.run_id in there], damaged)
    found: dict[str, list[float]] = {}
    for run_id, speeds in curves.groupby("run_id").tokens_per_second:
        spec = specs[str(run_id)]
        # Each run of a pack logs its own tokens in the time of all.
        lanes = folder.run(spec.run_id).read_state().n_lanes
        seconds = spec.batch_tokens / (lanes * float(speeds.median()))
        possible = machine.mesh.n_devices * sheet.peak(spec.model.precision) * seconds
        found.setdefault(spec.rung, []).append(step_flops(spec) / possible)
    return {rung: median(shares) for rung, shares in found.items()}


def _was_trained_on(folder: SweepFolder, run_id: str, machine: Machine) -> bool:
    """Return whether every attempt of a run had the machine's kind of device, mesh and execution."""
    attempts = read_attempts(folder.run(run_id).provenance)
    layout = asdict(machine.mesh), asdict(machine.execution)
    return bool(attempts) and all(
        {found_device(kind) for kind in attempt.devices} == {machine.devices.name}
        and (attempt.config.get("mesh"), attempt.config.get("execution")) == layout
        for attempt in attempts
    )
