"""`python -m harness.status results/<sweep> [--watch] [--all]`: one row per run, from its files alone.

The command asks no driver and no scheduler. So it works on any host that sees the folder, and after the
driver has ended.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from analysis.curves.watch import Outlook, SweepWatch, alarms
from harness.records.command_line import CommandParser
from harness.records.errors import INTERRUPTED_EXIT_CODE
from harness.records.paths import SweepFolder
from harness.records.status.progress import cooldown_share, counts, has_ended, headline
from harness.records.status.rows import RowStatus, RunRow, foremost, read_sweep, run_rows
from harness.records.status.table import COLUMNS, ENDS_AT, RIGHT, row_texts
from harness.runs.state import slurm_submission
from harness.track.console import plain_console

WATCH_SECONDS = 2.0
MAX_ROWS = 100


def status_table(rows: list[RunRow], n_rows: int, outlooks: Mapping[str, Outlook]) -> Table:
    """Return a table of at most `n_rows` runs with progress, expected end, speed and time left."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    # Without forecasts, the column would only take the room of others.
    columns = [name for name in COLUMNS if outlooks or name != ENDS_AT]
    for name in columns:
        table.add_column(name, justify="right" if name in RIGHT else "left", no_wrap=name == ENDS_AT)
    for row in foremost(rows, n_rows):
        outlook = outlooks.get(row.run_id)
        texts = row_texts(row, outlook.ends_at if outlook else "")
        # As Text, because rich would read the brackets of "[Errno 28]" as markup.
        table.add_row(*(Text(texts[name]) for name in columns))
    return table


def logs(folder: SweepFolder, rows: list[RunRow]) -> list[str]:
    """Return a line with the path of each log of the runs that have begun and not finished."""
    found = []
    for row in rows:
        run = folder.run(row.run_id)
        if row.status == RowStatus.FINISHED or row.state.status is None:
            continue
        paths = [str(run.log)] if run.log.exists() else []
        paths += [submitted.log for submitted in [slurm_submission(run)] if submitted]
        found += [f"log of {row.run_id}: {path}" for path in paths]
    return found


class View:
    """The text of the command for one sweep.

    Args:
        folder: folder of the sweep.
        n_rows: largest number of runs to show.
    """

    def __init__(self, folder: SweepFolder, n_rows: int):
        self._folder = folder
        self._n_rows = n_rows
        self._watch = SweepWatch(folder.root)
        self.refresh()

    def refresh(self) -> None:
        """Read the files again."""
        record = read_sweep(self._folder)
        self._cooldown_frac = cooldown_share(record.config.get("optim"))
        self.rows = run_rows(self._folder, record)
        # Curves take longer to read than everything else, and of finished runs nothing is forecast.
        self.outlooks = {} if self.has_ended else self._watch.look()

    @property
    def has_ended(self) -> bool:
        """Whether every run is finished, failed or diverged."""
        return has_ended(self.rows)

    def headline(self) -> str:
        """Return counts by status, speed and time left in one line."""
        return headline(self.rows, self._cooldown_frac)

    def render(self) -> Group:
        """Return the table, the number of runs left out, paths of logs, and the headline."""
        lines = logs(self._folder, self.rows)[: self._n_rows]
        lines += alarms(self.rows, self.outlooks)
        if len(self.rows) > self._n_rows:
            lines.insert(0, f"{len(self.rows) - self._n_rows} more runs are not shown; --all shows them")
        table = status_table(self.rows, self._n_rows, self.outlooks)
        return Group(table, *map(Text, [*lines, self.headline()]))


def watch(view: View, console: Console) -> None:
    """Show the sweep until every run has ended: a live table, or a line per change if it goes to a log."""
    if not console.is_terminal:
        said = ""
        while True:
            if counts(view.rows) != said:
                said = counts(view.rows)
                console.print(view.headline())
            if view.has_ended:
                return
            time.sleep(WATCH_SECONDS)
            view.refresh()
    with Live(view.render(), console=console, auto_refresh=False) as live:
        while not view.has_ended:
            time.sleep(WATCH_SECONDS)
            view.refresh()
            live.update(view.render(), refresh=True)


def command_parser() -> CommandParser:
    """Return the argument parser of the command."""
    parser = CommandParser(
        "harness.status",
        "Print a row for each run of a sweep: its status, progress, speed, time left and last error.",
        "python -m harness.status results/chinchilla --watch",
    )
    parser.add_argument("folder", type=Path, help="folder of a sweep, for example results/chinchilla")
    parser.add_argument(
        "--watch", action="store_true", help=f"look again every {WATCH_SECONDS:g} s until every run has ended"
    )
    parser.add_argument(
        "--all", action="store_true", help=f"show every run (default: the {MAX_ROWS} that matter most)"
    )
    return parser


def show(options: argparse.Namespace) -> int:
    """Print the sweep once, or watch it; return the exit code."""
    console = plain_console()
    n_rows = sys.maxsize if options.all else MAX_ROWS
    if options.watch and console.is_terminal and not options.all:
        n_rows = max(1, console.height // 2)
    try:
        view = View(SweepFolder(options.folder), n_rows)
        if options.watch:
            watch(view, console)
        if not options.watch or not console.is_terminal:
            console.print(view.render())
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT_CODE
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    return command_parser().answer(arguments, show)


if __name__ == "__main__":
    sys.exit(main())
