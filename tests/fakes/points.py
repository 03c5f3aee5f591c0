"""Files of end points that nothing trained."""

from __future__ import annotations

from harness.recipe.spec import RunSpec
from harness.records.columns import POINT_COLUMNS
from harness.records.json_files import write_checked
from harness.records.paths import SweepFolder


def point_values(spec: RunSpec, n_tokens: int, **changes: object) -> dict[str, object]:
    """What a run writes about an end point, filled from the schema."""
    empty = {"string": "x", "int64": 1, "float64": 1.5, "bool": True, "object": [1.0, 2.0]}
    row = {name: empty[kind] for name, kind in POINT_COLUMNS.items() if name not in ("grid", "role")}
    row |= {"run_id": spec.run_id, "point_id": spec.point_id(n_tokens), "n_tokens": n_tokens}
    return row | {"status": "done", "excluded_reason": None} | changes


def write_point(folder: SweepFolder, spec: RunSpec, n_tokens: int, **changes: object) -> None:
    """Write the file of an end point."""
    path = folder.run(spec.run_id).point(spec.point_id(n_tokens))
    write_checked(path, point_values(spec, n_tokens, **changes))
