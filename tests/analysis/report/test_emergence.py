"""The report's section on tasks: a panel a task, verdicts in words, what was not examined; else nothing."""

from __future__ import annotations

import re
import shutil
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

from analysis.emergence.study import NOT_EXAMINED, conclude
from analysis.records.emergence import Verdict, read_emergence
from analysis.report import build as report
from analysis.study.study import study_sweep
from harness.records.files import write_table
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from tests.fakes.emergence import example, write_tables
from tests.fakes.sweep import make_sweep

TASKS = (0, 3, 4)  # an artefact, a transition, a task not learned


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """A made-up sweep with evaluations of other, simulated models beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALING_CACHE", str(tmp_path_factory.mktemp("cache")))
        root = make_sweep(tmp_path_factory.mktemp("results") / "fake")
        points = pd.read_parquet(SweepFolder(root).points)
        tasks = example(seeds=3)
        write_tables(root, [tasks[i] for i in TASKS])
        conclude(root)
        write_table(SweepFolder(root).points, points)
        report.write_report(root)
    return SweepFolder(root)


def text_of(html: str) -> str:
    bare = re.sub(r"<(svg|style)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", bare)).split())


def test_verdicts_stand_in_words_with_their_numbers(folder: SweepFolder) -> None:
    html = folder.report.read_text()
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


def test_a_figure_a_task_and_one_on_contexts(folder: SweepFolder) -> None:
    html = folder.report.read_text()
    wanted = {"emergence_addition", "emergence_recall", "emergence_digit_sum", "emergence_text", "in_context"}
    assert wanted <= set(re.findall(r'<figure id="figure-(\w+)"', html))
    assert all((folder.figures / f"{name}.png").exists() for name in wanted)
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_without_evaluations_there_is_no_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "draw_figures", lambda _: {})
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
    html = report.write_report(root).read_text()
    order = [html.index(f'id="{name}"') for name in ("warnings", "emergence", "exponents", "noise", "points")]
    assert order == sorted(order)
    assert "nothing about how compute is best divided" in text_of(html)
    assert all(f'id="{name}"' not in html for name in ("frontier", "forecast", "adequacy", "reference"))
