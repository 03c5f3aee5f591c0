"""Figures of a benchmark, written to a file with the machine and the code that they come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.records.files import write_json
from harness.records.json_files import to_json
from harness.records.provenance import provenance

SCHEMA = 1


def write_figures(path: Path | None, figures: dict[str, Any]) -> None:
    """Write figures to a file, if one is named."""
    if path is not None:
        write_json(path, {"schema": SCHEMA, "provenance": to_json(provenance()), **figures})


def print_figures(figures: dict[str, Any], path: Path | None) -> None:
    """Print figures as JSON, and write them to a file, if one is named."""
    print(json.dumps(figures, indent=1))
    write_figures(path, figures)
