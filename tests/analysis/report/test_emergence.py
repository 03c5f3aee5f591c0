"""The report's section on tasks: all tasks drawn, verdicts in words, what was not examined; else nothing."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from analysis import plots
from analysis.emergence.study import NOT_EXAMINED, conclude
from analysis.records.emergence import Verdict, read_emergence
from analysis.records.fits import read_study
from analysis.report import build as report
from analysis.report.__main__ import main
from analysis.report.lead import lead
from analysis.study.study import study_sweep
from harness.records.files import write_table
from harness.records.json_files import write_record
from harness.records.number_text import number
from harness.records.paths import SweepFolder
from harness.records.sweep_file import read_sweep
from tests.analysis.report.pages import SCRIPT, draw_only, text_of, unscripted
from tests.fakes.emergence import example, write_tables
from tests.fakes.sweep import make_sweep

pytestmark = pytest.mark.usefixtures("few_starts")

TASKS = (0, 3, 4)  # an artefact, a transition, a task not learned


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """A made-up sweep with evaluations of other, simulated models beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALING_CACHE", str(tmp_path_factory.mktemp("cache")))
        # test_report.py has them.
        patch.setattr(report, "_law_figures", lambda *_: {})
        root = make_sweep(tmp_path_factory.mktemp("results") / "fake")
        points = pd.read_parquet(SweepFolder(root).points)
        tasks = example(seeds=3)
        write_tables(root, [tasks[i] for i in TASKS])
        conclude(root)
        write_table(SweepFolder(root).points, points)
        report.write_report(root)
    return SweepFolder(root)


def test_verdicts_stand_in_words_with_their_numbers(folder: SweepFolder) -> None:
    html = unscripted(folder.report.read_text())
    found = read_emergence(folder.emergence)
    section = text_of(html[html.index('<h2 id="emergence"') : html.index('<h2 id="points"')])
    wanted = {Verdict.METRIC_ARTEFACT, Verdict.TRANSITION, Verdict.NOT_LEARNED}
    assert {task.verdict for task in found.first} >= wanted
    assert all(f"{task.label} . {task.words}" in section for task in found.first)
    assert all(part in section for part in found.verdict.removesuffix(".").split("; "))
    assert all(part in section for part in NOT_EXAMINED)
    assert "Along model size N" in section
    assert "Along the loss on text" in section
    assert '<a href="#emergence">' in html


def test_one_figure_of_all_tasks_and_one_on_contexts(folder: SweepFolder) -> None:
    html = unscripted(folder.report.read_text())
    wanted = {"emergence_overview", "in_context"}
    assert wanted <= set(re.findall(r'<figure id="figure-(\w+)"', html))
    assert all((folder.figures / f"{name}.png").exists() for name in wanted)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_chance_levels_stand_beside_the_scores(folder: SweepFolder) -> None:
    html = unscripted(folder.report.read_text())
    table = html[html.index("Along model size N") : html.index("Along compute C")]
    rows = table.split('<tbody class="pair">')[1:]
    found = read_emergence(folder.emergence).first
    assert len(rows) == len(found)
    guessed = [task for task in found if task.chance]
    assert guessed
    for row, task in zip(rows, found, strict=True):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row, flags=re.DOTALL)
        assert cells[2] == number(task.chance_nll)
        assert cells[4] == (number(task.chance) if task.has_exact else "–")
    section = html[html.index('<h2 id="emergence"') : html.index('<h2 id="points"')]
    tables = re.findall(r"<table.*?</table>", section, flags=re.DOTALL)
    assert any(task.forecast for task in found)
    assert len(tables) == len(read_emergence(folder.emergence).axes) + 1
    assert ["guessing" in table for table in tables] == [True] * len(tables)


def test_widths_stand_only_beside_jumps(folder: SweepFolder) -> None:
    html = unscripted(folder.report.read_text())
    table = html[html.index("Along model size N") : html.index("Along compute C")]
    found = read_emergence(folder.emergence).first
    for row, task in zip(table.split('<tbody class="pair">')[1:], found, strict=True):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row, flags=re.DOTALL)
        assert (cells[7] != "–") == task.verdict.is_jump
        assert (cells[6] != "–") == (task.power is not None)


def test_the_lead_counts_the_verdicts(folder: SweepFolder) -> None:
    found = read_emergence(folder.emergence)
    study = replace(read_study(folder.fits), recommended=None)
    sentences = lead(study, report.read_sweep(folder.root).finished, found)
    jumps = sum(task.verdict == Verdict.TRANSITION for task in found.first)
    assert len(sentences) == 3
    assert sentences[-1].startswith(f"{jumps} of {len(found.first)} tasks along N jumps in the smooth metric")
    assert sentences[1].startswith("The loss falls with size N and training tokens D as L = ")


def test_a_panel_without_data_is_left_out(folder: SweepFolder) -> None:
    tasks = [task for task in read_emergence(folder.emergence).first if task.task == "addition"]
    (task,) = tasks
    no_hit = replace(task, sizes=tuple(replace(size, exact=0.0, loglog=None) for size in task.sizes))
    no_exact = replace(task, sizes=tuple(replace(size, exact=None, loglog=None) for size in task.sizes))
    assert [len(plots.emergence(drawn).axes) for drawn in ([task], [no_hit], [no_exact])] == [3, 2, 1]
    every = plots.emergence([task, no_hit, no_exact]).axes
    assert len(every) == 6
    last = {panel.get_subplotspec().rowspan.start: panel.get_subplotspec().colspan.stop for panel in every}
    assert set(last.values()) == {6}, "the panels of a row share its whole width"
    nothing = dict.fromkeys(("product", "p_answer", "accuracy_power", "from_law"), 0.0)
    sizes = tuple(replace(size, exact_upper=0.02, **nothing) for size in no_hit.sizes)
    _, exact = plots.emergence([replace(no_hit, sizes=sizes, forecast=())]).axes
    assert exact.get_ylim()[1] < 0.1, "where no answer is right the axis shows the upper limits"


def test_the_overview_draws_both_metrics_of_every_task(folder: SweepFolder) -> None:
    tasks = read_emergence(folder.emergence).first
    names = list(dict.fromkeys(task.task for task in tasks))
    axes = plots.emergence_overview(tasks).axes
    titles = [panel.get_title("left") for panel in axes if panel.get_title("left")]
    assert titles == [name.replace("_", " ") for name in names]
    for name, smooth, exact in zip(names, axes[::2], axes[1::2], strict=False):
        own = [task for task in tasks if task.task == name]
        drawn = [list(line.get_ydata()) for line in smooth.get_lines()]
        assert all([size.nll for size in task.sizes] in drawn for task in own)
        assert exact.get_visible() == any(task.has_exact for task in own)
        levels = [line.get_ydata()[0] for line in exact.get_lines() if line.get_linestyle() == "--"]
        assert levels == [task.chance for task in own if task.chance]


NAMES = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "../../outside",
    "/absolute",
    "$\\frac{$",
    "--><svg onload=alert(1)>",
    "a" * 300,
    "line\nbreak \x1b[2J",
)


def test_names_of_a_foreign_folder_stay_text(
    folder: SweepFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks, sizes and the grid may be called anything: no script runs, no file lies outside."""
    draw_only(monkeypatch, "overview", "loss_curves")  # which show names of sizes
    root = tmp_path / "outer" / "foreign"
    shutil.copytree(folder.root, root, ignore=shutil.ignore_patterns("figures", "report.html"))
    files = SweepFolder(root)
    found = read_emergence(files.emergence)
    (task,) = [task for task in found.first if task.task == "addition"]
    # Panels of exact match, in which no name stands, for one of them.
    plain = replace(task, sizes=tuple(replace(size, exact=None, loglog=None) for size in task.sizes))
    tasks = [
        replace(each, task=name, name=name, words=name, label=name)
        for each, name in zip((task, *[plain] * (len(NAMES) - 1)), NAMES, strict=True)
    ]
    write_record(
        files.emergence,
        replace(found, tasks=tuple(tasks), axes=found.axes[:1], verdict="; ".join(NAMES), not_examined=NAMES),
    )
    points = pd.read_parquet(files.points)
    rungs = dict(zip(points.rung.unique(), NAMES, strict=False))
    write_table(files.points, points.replace({"rung": rungs}).assign(grid=NAMES[0], device=NAMES[1]))
    record = read_sweep(files.sweep)
    cells = tuple(replace(cell, rung=NAMES[0]) for cell in record.cells)
    config = {"grid": dict.fromkeys(NAMES, 1)}
    changed = replace(record, grid=NAMES[1], command=NAMES[0], cells=cells, config=config, recipe=config)
    write_record(files.sweep, changed)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert main([str(root)]) == 0
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert {path.parent for path in made} == {root, files.figures}
    assert all(re.fullmatch(r"[\w-]{1,80}\.(png|svg|html)", path.name) for path in made)
    assert {path.name for path in made} >= {"emergence_overview.png", "emergence_overview.svg"}
    page = files.report.read_text()
    # The data, Vega, its interpreter and our own file; a name that ended one of them would leave its rest.
    assert len(SCRIPT.findall(page)) == 4
    html = unscripted(page)
    parser = Tags()
    for text in (html, *(path.read_text() for path in made if path.suffix == ".svg")):
        parser.feed(text)
    assert not parser.found & {"script", "img", "iframe"}
    assert not any(attribute.startswith("on") for attribute in parser.attributes)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


class Tags(HTMLParser):
    """Collects the names of all tags and attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_without_evaluations_there_is_no_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "draw_figures", lambda _: {})
    monkeypatch.setattr(report, "explore", lambda _: None)
    html = report.write_report(make_sweep(tmp_path / "plain")).read_text()
    assert 'id="emergence"' not in html
    assert "#emergence" not in html


def test_runs_of_one_token_count_are_reported_without_a_frontier(
    folder: SweepFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "one"
    shutil.copytree(folder.root, root)
    files = SweepFolder(root)
    files.forecast.unlink(missing_ok=True)
    points = pd.read_parquet(files.points)
    fitted = points[(points.role == "fit") & (points.n_tokens == points.n_tokens.mode()[0])]
    write_table(files.points, fitted.reset_index(drop=True))
    found = study_sweep(pd.read_parquet(files.points), pd.read_parquet(files.curves), resamples=20)
    write_record(files.fits, found)
    monkeypatch.setattr(report, "draw_figures", lambda _: {})
    monkeypatch.setattr(report, "explore", lambda _: None)
    html = report.write_report(root).read_text()
    order = [html.index(f'id="{name}"') for name in ("warnings", "emergence", "exponents", "noise", "points")]
    assert order == sorted(order)
    assert "nothing about how compute is best divided" in text_of(html)
    assert all(f'id="{name}"' not in html for name in ("frontier", "forecast", "adequacy", "reference"))
