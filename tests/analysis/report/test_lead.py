"""The lead of a report against the weights of the laws that stand on the same page."""

from __future__ import annotations

import io
import re
from argparse import Namespace
from dataclasses import replace
from functools import cache
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from analysis.explorer.answers import answers_of_laws
from analysis.explorer.page import EXCLUDED_BY
from analysis.fit import starting_law
from analysis.records.averages import AveragedQuantity
from analysis.records.fits import StudyRecord, read_study
from analysis.report import build as report
from analysis.report.lead import answer, lead
from analysis.study.words import choice_of_a_row, excluded_warning, plain_name, verdict
from analysis.tables.table import load_table
from harness.records.json_files import write_record
from harness.records.number_text import number
from harness.records.paths import SweepFolder
from harness.sweep.finish import print_conclusion
from tests import ROOT
from tests.analysis.report.pages import text_of
from tests.fakes.sweep import make_sweep

RESULTS = ROOT / "results"
WITH_LAWS = sorted(path.parent.name for path in RESULTS.glob("*/fits.json") if read_study(path).averages)
QUICK = ("chinchilla", "mixture")
LABEL = re.compile(r"(\w+), (?:weight ([01]\.\d\d)|excluded by \w+ runs)$")


@cache
def study_of(name: str) -> StudyRecord:
    return read_study(SweepFolder(RESULTS / name).fits)


def said_of(name: str) -> str:
    return " ".join(answer(study_of(name), pd.read_parquet(SweepFolder(RESULTS / name).points), None))


def labels_of(html: str) -> list[re.Match[str]]:
    """Return the laws that the list of a page names one by one."""
    choices = re.findall(r'<select id="live-law">(.*?)</select>', html, re.DOTALL)[0].split("<optgroup")[0]
    found = [LABEL.match(unescape(text)) for text in re.findall(r"<option[^>]*>(.*?)</option>", choices)[1:]]
    assert found
    assert all(found)
    return [each for each in found if each]


def check(text: str, labels: list[re.Match[str]]) -> None:
    """Hold the sentences of a lead against the labels of the laws."""
    weights = re.findall(r"Weights of the laws by all runs[^:]*: (.*?)\. ", f"{text} ")[0]
    for label in labels:
        law, weight = label.groups()
        if weight and float(weight) > 0.01:
            assert f"{law} {weight}" in weights
        elif weight is None:
            assert law not in weights
            naming = [each for each in text.split(". ") if plain_name(law) in each]
            assert all("exclude" in each for each in naming), naming


def without(study: StudyRecord, law: str) -> StudyRecord:
    """Return a study whose runs, all together, exclude a law."""
    averages = [replace(each, laws=tuple(x for x in each.laws if x.law != law)) for each in study.averages]
    return replace(study, averages=tuple(averages))


@pytest.fixture
def excluded(tmp_path: Path) -> SweepFolder:
    """A sweep of which all runs exclude the law that the fitted ones chose."""
    folder = SweepFolder(make_sweep(tmp_path))
    study = without(read_study(folder.fits), "joint")
    write_record(folder.fits, replace(study, verdict=verdict(study)))
    return folder


@pytest.mark.parametrize("name", WITH_LAWS)
def test_no_committed_lead_names_a_law_that_its_own_page_excludes(name: str) -> None:
    check(said_of(name), labels_of((RESULTS / name / "report.html").read_text()))
    study = study_of(name)
    assert study.primary
    sentence = (
        f"All runs exclude the {plain_name(study.primary.law)}, which the fitted runs alone had chosen."
    )
    assert (sentence in said_of(name)) == (study.primary.law not in study.weights)


def test_some_committed_sweep_excludes_the_law_chosen_beforehand() -> None:
    assert [name for name in WITH_LAWS if study_of(name).choice_excluded] == [
        "chinchilla-synthetic",
        "mixture",
    ]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in WITH_LAWS]
)
def test_e_of_the_lead_is_that_of_the_first_answer_of_the_page(name: str) -> None:
    study = study_of(name)
    fit = study.quoted
    assert fit
    assert fit.estimation
    table = load_table(pd.read_parquet(SweepFolder(RESULTS / name).points))
    laws = [row.law for row in study.contest if row.count == fit.count]
    first = answers_of_laws(table, laws, resamples=fit.estimation.resamples, level=fit.level)[0]
    known, found = study.average(AveragedQuantity.E), first.irreducible
    assert known
    assert (found.value, found.low, found.high) == pytest.approx((known.value, known.low, known.high))
    assert [share.law for share in found.laws] == list(study.weights)
    text = said_of(name)
    if not study.objection:
        assert number(found.high) in text
        assert (f"E is {number(found.value)} [" in text) == (found.agree and study.fixes_irreducible())


@pytest.mark.usefixtures("few_starts_here")
def test_a_page_says_that_all_runs_exclude_the_chosen_law(
    excluded: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "draw_figures", lambda _: {})
    html = report.write_report(excluded.root).read_text()
    text = text_of(html)
    assert text.count("All runs exclude the joint law, which the fitted runs alone had chosen.") == 2
    assert "Their loss follows the additive (Chinchilla) law best" in text
    assert "All runs exclude the law that the fitted runs had chosen" in text
    assert "with a weight of 0.90" in text
    assert "Likeliest law chinchilla" in text
    assert "Law chosen by the fitted runs joint excluded by all runs" in text
    assert "The row marked ★ is chosen by the fitted runs, excluded by all runs" in text
    assert "Recommended" not in text
    assert EXCLUDED_BY in choice_of_a_row(read_study(excluded.fits))


def test_commands_say_it_where_they_name_the_law(excluded: SweepFolder) -> None:
    study = read_study(excluded.fits)
    console = Console(width=200, record=True, markup=False, file=io.StringIO())
    print_conclusion(console, excluded, study)
    said = console.export_text()
    assert "N* ∝ C^a, with intervals (→ chosen by the fitted runs, excluded by all runs)" in said
    assert "All runs exclude the joint law" in said
    arguments = Namespace(law=None, table=excluded.points)
    law, lines = starting_law(arguments, pd.read_parquet(excluded.points))
    assert law == "joint"
    assert "law: joint, which the fitted runs chose and all runs exclude" in lines[0]


def test_a_law_that_was_never_weighed_is_not_excluded(excluded: SweepFolder) -> None:
    study = read_study(excluded.fits)
    assert study.choice_excluded
    old = replace(study, contest=tuple(row for row in study.contest if row.law != "joint"))
    assert not old.choice_excluded
    assert excluded_warning(old) == []


def test_another_likeliest_law_is_told_from_the_chosen_one(tmp_path: Path) -> None:
    folder = SweepFolder(make_sweep(tmp_path))
    study, done = read_study(folder.fits), report.read_sweep(folder.root).finished
    assert choice_of_a_row(study) == "recommended"
    swapped = [replace(each, laws=each.laws[::-1]) for each in study.averages]
    weighed = [
        replace(each, laws=tuple(replace(x, weight=w) for x, w in zip(each.laws, (0.7, 0.3), strict=True)))
        for each in swapped
    ]
    other = replace(study, averages=tuple(weighed))
    assert choice_of_a_row(other) == "chosen by the fitted runs; all runs favour chinchilla"
    text = " ".join(lead(other, done, None))
    assert "Weights of the laws by all runs, held-out ones included: chinchilla 0.70, joint 0.30." in text
    assert "exclude" not in text.replace("cannot exclude", "")
    said = "By the fitted runs alone, which make the forecast, the weights are joint 0.90"
    assert said in verdict(other)
    assert "By the fitted runs alone" not in verdict(study)


@pytest.mark.parametrize("name", WITH_LAWS)
def test_the_lead_counts_n_in_one_way(name: str) -> None:
    study, text = study_of(name), said_of(name)
    assert study.primary
    points = pd.read_parquet(SweepFolder(RESULTS / name).points)
    sizes = points.loc[points["role"].isin(["fit", "holdout"]), study.primary.count]
    assert text.count("parameters of body and head") == 1
    assert float(re.findall(r"sizes \(([\d.]+)k to", text)[0]) == pytest.approx(sizes.min() / 1e3, rel=5e-3)
