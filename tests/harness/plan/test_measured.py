"""Utilisation read from the runs of a folder."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest

from harness.execution.devices import DEVICES, Devices
from harness.execution.execution import Execution, MeshConfig
from harness.grid.cells import Cell
from harness.grid.packs import one_lane
from harness.plan.machine import Machine, step_flops
from harness.plan.measured import measured_mfu
from harness.records.columns import CURVE_COLUMNS, as_table
from harness.records.files import table_bytes, write_atomic
from harness.records.paths import SweepFolder
from harness.records.run_files import Attempt, write_attempts
from harness.runs.state import begun, write_state
from tests.fakes.record import CORPUS, PROVENANCE
from tests.small_sweeps import small_cells

CELLS = small_cells("grid.rungs=[16,32]", "grid.seeds=[0,1]")
MESH = MeshConfig(fsdp=8)
THERE = Machine(Devices("h100", 8), MESH, Execution(), 1, one_lane)
H100 = "NVIDIA H100 80GB HBM3"


def log(
    folder: SweepFolder,
    cell: Cell,
    speeds: list[float],
    kind: str = H100,
    mesh: MeshConfig = MESH,
    lanes: int = 1,
) -> None:
    """Steps that a run logged on eight devices."""
    run = folder.run(cell.spec.run_id)
    made = {k: v for k, v in vars(PROVENANCE).items() if k in Attempt.__dataclass_fields__ and k != "devices"}
    config = {"mesh": asdict(mesh), "execution": asdict(Execution())}
    attempt = Attempt(
        **made, host="node", platform="gpu", devices=(kind,) * 8, command="", config=config, corpus=CORPUS
    )
    run.root.mkdir(parents=True, exist_ok=True)
    write_attempts(run.provenance, [attempt])
    write_state(run, begun(run, lanes))
    empty = {"string": None, "int64": 0, "float64": 1.0}
    rows = [
        {name: empty[kind] for name, kind in CURVE_COLUMNS.items()}
        | {"run_id": cell.spec.run_id, "step": 8 * (i + 1), "tokens_per_second": speed}
        for i, speed in enumerate(speeds)
    ]
    run.curves.mkdir(exist_ok=True)
    path = run.curves / f"trunk-8-{8 * len(speeds)}.parquet"
    write_atomic(path, table_bytes(as_table(pd.DataFrame(rows), CURVE_COLUMNS)))


def share(cell: Cell, speed: float) -> float:
    """MFU of eight H100s at so many tokens a second."""
    spec = cell.spec
    return step_flops(spec) / spec.batch_tokens * speed / (8 * DEVICES["h100"].single)


def first(rung: str, seed: int = 0) -> Cell:
    return next(cell for cell in CELLS if (cell.spec.rung, cell.spec.seed) == (rung, seed))


def test_the_median_speed_on_such_devices_is_the_utilisation(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    assert measured_mfu(folder, CELLS, THERE) == {}
    log(folder, first("d16"), [1e3, 2e6, 2e6, 2e6])
    log(folder, first("d16", 1), [4e6, 4e6])
    assert measured_mfu(folder, CELLS, THERE) == pytest.approx({"d16": share(first("d16"), 3e6)})


def test_runs_of_a_pack_log_their_own_tokens_in_the_time_of_all(tmp_path: Path) -> None:
    log(SweepFolder(tmp_path), first("d16"), [2e6], lanes=4)
    assert measured_mfu(SweepFolder(tmp_path), CELLS, THERE) == pytest.approx(
        {"d16": share(first("d16"), 8e6)}
    )


def test_other_devices_and_meshes_measure_nothing(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    log(folder, first("d16"), [2e6], kind="NVIDIA A100-SXM4-80GB")
    log(folder, first("d32"), [2e6], mesh=MeshConfig(data=8))
    assert measured_mfu(folder, CELLS, THERE) == {}
    assert measured_mfu(folder, CELLS, replace(THERE, execution=Execution(remat="full"))) == {}
    assert set(measured_mfu(folder, CELLS, replace(THERE, mesh=MeshConfig(data=8)))) == {"d32"}
    assert set(measured_mfu(folder, CELLS, replace(THERE, devices=Devices("a100-80gb", 8)))) == {"d16"}
