"""Files that list cells: `cells=FILE.yaml` adds them to a grid, or to the sweep of a results folder.

`plan=FILE.yaml` is read likewise: `analysis.plan` writes such a file, with one held-out run.

extends: results/NAME   # optional: the sweep whose recipe and cells are kept
settings:               # optional: keys of the configuration
  data.eval_tokens: 196608
cells:
  - {d_model: 48, n_tokens: [8000000], seeds: [25]}
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from harness.config.schema import ListedCells, SweepSettings
from harness.config.values import check_value, kind_of, shown, typed
from harness.records.errors import InputError
from harness.records.paths import SweepFolder

# Grids whose cells stand in a file, which the key of the same name gives.
FILE_GRIDS = ("cells", "plan")
MAX_YAML = 1_000_000  # characters
KEYS = ("extends", "settings", "cells")
# Of an entry, as a stored configuration writes them.
DEFAULTS = {field.name: field.default for field in fields(ListedCells) if field.default is not MISSING}
EXAMPLE = "cells: [{d_model: 48, n_tokens: [8000000], seeds: [0]}]"


@dataclass(frozen=True)
class CellsFile:
    """Content of a file of cells.

    Attributes:
        path: the file, as it was typed.
        extends: folder of the sweep that the cells extend; None extends the grid of the command line.
        settings: values of further keys, by dotted name.
        cells: entries of `grid.cells`.
    """

    path: str
    extends: str | None
    settings: dict[str, Any]
    cells: list[dict[str, Any]]

    @property
    def record(self) -> str | None:
        """Path of the sweep.json that holds the configuration to extend; None if there is none."""
        return None if self.extends is None else str(SweepFolder(Path(self.extends).expanduser()).sweep)

    def overrides(self, earlier: list[dict[str, Any]]) -> list[str]:
        """Return what the file sets, as typed on the command line.

        Args:
            earlier: cells that the sweep lists already, which stay.
        """
        cells = [DEFAULTS | cell for cell in earlier]
        cells += [cell for cell in self.cells if cell not in cells]
        folder = [] if self.extends is None else [f"results_dir={self.extends}"]
        given = [
            f"{key}={value if isinstance(value, str) else typed(value)}"
            for key, value in self.settings.items()
        ]
        return [*folder, f"grid.cells={typed(cells)}", *given]


def take_file(arguments: list[str]) -> tuple[CellsFile | None, list[str]]:
    """Return the file of cells that the arguments name, and all other arguments.

    A choice of the file's grid is left out if the file extends a sweep, which has a grid.

    Raises:
        InputError: the file cannot be read, or extends a sweep and another grid is chosen.
    """
    named = [each for each in arguments if _key(each) in FILE_GRIDS]
    rest = [each for each in arguments if each not in named]
    if not named:
        return None, arguments
    key = _key(named[-1])
    file = read_cells(key, named[-1].partition("=")[2])
    own = [f"+grid={name}" for name in FILE_GRIDS]
    if file.extends is not None:
        other = [each for each in rest if each.startswith("+grid=") and each not in own]
        if other:
            raise InputError(
                f"{file.path} extends the sweep in {file.extends}, which has a grid, and {other[0]} came; "
                f"type +grid={key} instead"
            )
        rest = [each for each in rest if each not in own]
    return file, rest


def cells_text(extends: str, cells: list[dict[str, Any]], notes: list[str]) -> str:
    """Return the content of a file of cells that extends a sweep.

    Args:
        extends: folder of the sweep.
        cells: entries of `grid.cells`.
        notes: lines that stand above them as comments.
    """
    body = yaml.safe_dump({"extends": extends, "cells": cells}, sort_keys=False, default_flow_style=None)
    return "".join(f"# {note}\n" for note in notes) + body


def _key(argument: str) -> str:
    return argument.partition("=")[0].lstrip("+")


def read_cells(key: str, path: str) -> CellsFile:
    """Return the content of a file of cells.

    Raises:
        InputError: it cannot be read, has other keys, or its cells do not fit.
    """
    try:
        text = Path(path).expanduser().read_text()
        # An alias names a value twice, and a few of them in each other make billions.
        aliased = len(text) > MAX_YAML or any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text))
        content = None if aliased else yaml.safe_load(text)
    except FileNotFoundError as error:
        raise InputError(
            f"{key}={shown(path)}: there is no such file; give one that lists cells, such as {EXAMPLE}"
        ) from error
    except (OSError, RuntimeError, ValueError, RecursionError, yaml.YAMLError):
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list) or not content["cells"]:
        raise InputError(
            f"{key}={shown(path)}: expected a YAML file that lists cells, without aliases, such as "
            f"{EXAMPLE}; python -m analysis.design and python -m analysis.plan write one"
        )
    unknown = [name for name in content if name not in KEYS]
    if unknown:
        raise InputError(f"{path} has the key {shown(str(unknown[0]))}, and {', '.join(KEYS)} were expected")
    extends, settings = content.get("extends"), content.get("settings") or {}
    if extends is not None and not isinstance(extends, str):
        raise InputError(f"{path} has extends={shown(extends)}, expected the folder of a sweep, results/NAME")
    if not isinstance(settings, dict):
        raise InputError(
            f"{path} has settings={shown(settings)}, expected keys with values, such as budget: quick"
        )
    for name in map(str, settings):
        if kind_of(name, SweepSettings) is None or name == "grid.cells":
            raise InputError(f"{path} has {shown(name)} under settings, expected a key that --cfg prints")
    cells = [_cell(cell) for cell in content["cells"]]
    check_value("grid.cells", kind_of("grid.cells", SweepSettings), cells)
    return CellsFile(path, extends, settings, [DEFAULTS | cell for cell in cells])


def _cell(cell: Any) -> Any:
    """Return an entry with lists of whole numbers; one count or seed may stand alone, and 8e6 is whole."""
    if not isinstance(cell, dict):
        return cell
    lists = {
        name: [_whole(each) for each in (value if isinstance(value, list) else [value])]
        for name, value in cell.items()
        if name in ("n_tokens", "seeds")
    }
    return {name: lists.get(name, _whole(value)) for name, value in cell.items()}


def _whole(value: Any) -> Any:
    """Return the whole number that a value reads as, or the value; YAML reads 8e6 as text."""
    try:
        number = float(value) if isinstance(value, str | float) else None
    except ValueError:
        return value
    return int(number) if number is not None and number.is_integer() else value
