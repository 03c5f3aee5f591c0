"""The report: complete, in order, self-contained, and honest about what is missing."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.advice import ADVICE, Source, next_steps
from analysis.records.averages import AveragedQuantity
from analysis.records.fit import COUNTS
from analysis.records.fits import EvaluationRecord, JackknifeRecord, NoiseRecord, TrendRecord, read_study
from analysis.records.warning_codes import FitWarning, WarningCode
from analysis.report import build as report
from analysis.report.__main__ import main
from analysis.report.doubts import COUNT_WORDS
from analysis.report.lead import lead
from harness.records import command_line
from harness.records.files import write_json, write_table
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.records.sweep_file import read_sweep
from tests import ROOT, preloaded
from tests.analysis.report.pages import draw_only, text_of, unscripted
from tests.fakes.sweep import make_sweep

pytestmark = pytest.mark.usefixtures("few_starts")

SECTIONS = (
    "warnings",
    "numbers",
    "corpus",
    "exponents",
    "forecast",
    "ends",
    "frontier",
    "reference",
    "noise",
    "adequacy",
    "figures",
    "points",
    "glossary",
    "provenance",
)
VOID = {"meta", "br", "link", "img", "hr", "input"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    root = make_sweep(tmp_path_factory.mktemp("results") / "fake")
    assert main([str(root)]) == 0
    return SweepFolder(root)


@pytest.fixture(scope="module")
def html(written: SweepFolder) -> str:
    """The page as it is without script."""
    return unscripted(written.report.read_text())


@pytest.fixture
def folder(written: SweepFolder, tmp_path: Path) -> SweepFolder:
    """A copy to spoil."""
    shutil.copytree(written.root, tmp_path / "copy")
    return SweepFolder(tmp_path / "copy")


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither figures nor what takes as long: answers of laws, and ends forecast on the way."""
    monkeypatch.setattr(report, "draw_figures", lambda _: {})
    monkeypatch.setattr(report, "explore", lambda _: None)
    monkeypatch.setattr(report, "try_forecasts", lambda _: [])


def change_fits(folder: SweepFolder, **values: Any) -> None:
    write_record(folder.fits, replace(read_study(folder.fits), **values))


def render_without_figures(folder: SweepFolder) -> str:
    return report.render(report.read_sweep(folder.root), {})


class Balance(HTMLParser):
    """Collects tags that are closed out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.wrong.append(tag)


def test_sections_come_in_order(html: str) -> None:
    places = [html.index(f'id="{name}"') for name in SECTIONS]
    assert places == sorted(places)


def test_markup_is_balanced_and_ids_are_unique(html: str) -> None:
    parser = Balance()
    parser.feed(html)
    assert parser.wrong == []
    assert [tag for tag in parser.open if tag not in ("p", "dt", "dd", "li")] == []
    ids = re.findall(r'\sid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'<a href="#([^"]+)"', html)) <= set(ids)


def test_report_is_the_same_whoever_makes_it(written: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Terminals name commands as they were started; a report that is sent names them by `python -m`."""
    sweep = report.read_sweep(written.root)
    kinds = [WarningCode.FEW_SIZES]
    warned = replace(sweep, fits=replace(sweep.fits, warnings=tuple(FitWarning(kind, "") for kind in kinds)))
    before = report.render(warned, {})
    assert f'class="command">{ADVICE[kinds[0]].command(warned.source)}<' in before
    monkeypatch.setattr(sys, "argv", ["/home/me/bin/scaling-report"])
    monkeypatch.setattr(command_line, "installed_names", lambda: {"analysis.design": "scaling-design"})
    assert "scaling-design" in next_steps(warned.fits.warnings, Source.sweep(written.root, 1e13))[0]
    assert report.render(warned, {}) == before


def test_report_needs_no_network(written: SweepFolder, html: str) -> None:
    assert re.findall(r"<(?:script|link|iframe|img)\b", html) == []
    assert re.findall(r'\b(?:src|href)="(?!#)[^"]*"', html) == []
    assert "@import" not in html
    assert "url(http" not in html
    assert written.report.stat().st_size < 2.2e6


def test_every_figure_is_inline_with_a_caption_and_on_disk(written: SweepFolder, html: str) -> None:
    names = re.findall(r'<figure id="figure-(\w+)"', html)
    assert len(names) == 13
    assert html.count("<figcaption>") == html.count("<svg") == 13
    on_disk = {path.name for path in written.figures.iterdir()}
    assert on_disk == {f"{name}.{suffix}" for name in names for suffix in ("png", "svg")}


def test_the_lead_is_an_answer_in_three_paragraphs_with_a_figure_beside_it(
    written: SweepFolder, html: str
) -> None:
    fits = read_study(written.fits)
    best, score = fits.quoted, fits.forecast
    assert best is not None
    assert score is not None
    part = html[html.index('class="answer"') : html.index('id="warnings"')]
    sentences = [text_of(text) for text in re.findall(r"<p>(.*?)</p>", part)[:3]]
    found = fits.average(AveragedQuantity.A_EXACT)
    assert found is not None
    assert sentences[0].startswith("29 runs of 5 sizes (")
    assert "Their loss follows the joint law best and leaves" in sentences[0]
    assert "Weights of the laws by all runs: joint 0.90, chinchilla 0.10." in sentences[0]
    assert "Over these laws the irreducible loss E is not identified" in sentences[1]
    assert f"The best size grows as C^{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" in sentences[1]
    assert f"was off by {score.rms_percent:.2f} % RMS; 3 of 3 losses lie inside" in sentences[2]
    assert part.index("</p>") < part.index('<figure id="figure-overview"')


def test_the_lead_follows_what_was_found(written: SweepFolder) -> None:
    fits, done = read_study(written.fits), report.read_sweep(written.root).finished
    law, score = fits.quoted, fits.forecast
    assert law is not None
    assert score is not None
    test = fits.adequacy[law.law]
    agreeing = tuple(replace(each, agree=True) for each in fits.averages)
    doubtless = replace(law, warnings=())

    def said(**values: Any) -> str:
        return " ".join(lead(replace(fits, **values), done, None))

    assert "but not fully: it leaves" in said(adequacy={law.law: replace(test, lack_of_fit_p=1e-4)})
    trend = replace(test, structure=(TrendRecord("N", 1e-4, 0.5),))
    assert "with a trend in it" in said(adequacy={law.law: trend})
    assert "more seeds would say" in said(adequacy={law.law: replace(test, seed_sd=None)})
    assert "gives no best use of a compute budget" in said(frontier=())
    assert "proves nothing" in said(forecast=replace(score, seal_intact=False))
    assert "the joint law missed the dearer ones by" in said(forecast=None)
    assert "the irreducible loss E is 0.600 [0.550, 1.750] nats" in said(averages=agreeing, fits=(doubtless,))
    assert "too far below the losses to be quoted" in said(averages=agreeing)
    assert "No run was held out" in said(forecast=None, contest=())
    against = said(objection="9 cells are few")
    assert "Neither E nor how compute is best divided can be said yet: 9 cells are few." in against
    assert "The best size grows" not in against


@pytest.mark.usefixtures("without_figures")
def test_three_warnings_are_unfolded_and_none_stands_twice(folder: SweepFolder) -> None:
    fits = read_study(folder.fits)
    kinds = [code for code in WarningCode if code != WarningCode.ONE_AXIS]
    own = tuple(FitWarning(code, f"message of {code}") for code in kinds)
    best = fits.recommended
    assert best is not None
    changed = [replace(fit, warnings=own if i == best else own[:2]) for i, fit in enumerate(fits.fits)]
    other = FitWarning(WarningCode.FEW_SIZES, "of another fit alone")
    changed[best - 1] = replace(changed[best - 1], warnings=(*own[:2], other))
    change_fits(folder, fits=tuple(changed), warnings=own[:5])
    html = render_without_figures(folder)
    box = html[html.index('id="warnings"') : html.index('id="numbers"')]
    unfolded, folded = box.split("<details>")
    assert unfolded.count("<li>") == 3  # the points that did not finish count as one
    assert f"{len(kinds) - 2 + 1} more, 1 of them about other fits" in text_of(folded)
    assert all(box.count(f"message of {code} ") == 1 for code in kinds)
    gravest = [code for code in ADVICE if code in kinds][:2]
    assert all(ADVICE[code].remedy in text_of(unfolded) for code in gravest)
    assert "of another fit alone" in folded


def test_every_way_to_count_n_has_words() -> None:
    assert set(COUNT_WORDS) == set(COUNTS)


def test_the_page_follows_dark_settings_and_prints_whole_tables(html: str) -> None:
    style = html[html.index("<style>") : html.index("</style>")]
    dark = style[style.index("@media screen and (prefers-color-scheme: dark)") :]
    assert "figure svg { filter: invert" in dark
    printed = style[style.index("@media print") :]
    assert ".scroll, .plot { overflow: visible; }" in printed


def test_a_figure_of_one_panel_fits_a_telephone(html: str) -> None:
    figure = r'<figure id="figure-(\w+)"[^>]*><div class="plot"[^>]* style="--natural: ([0-9.]+)pt'
    sizes = dict(re.findall(figure, html))
    single = {"overview", "loss_curves", "loss_against_compute", "isoflop", "contours", "counting", "rollout"}
    single |= {"cloud", "ends"}
    # Letters of 9 points are at least 8 pixels high in the 360 pixels that a telephone leaves.
    assert {name for name, width in sizes.items() if 9 * 360 / float(width) >= 8} == single
    assert set(re.findall(r'<figure id="figure-(\w+)" class="wide"', html)) == set(sizes) - single


def test_every_warning_is_in_words_before_any_number(written: SweepFolder, html: str) -> None:
    fits = read_study(written.fits)
    box = text_of(html[html.index('id="warnings"') : html.index('id="numbers"')])
    warnings = [*fits.warnings, *(entry for fit in fits.fits for entry in fit.warnings)]
    assert len(warnings) == 2
    assert all(entry.message in box for entry in warnings)
    assert "1 of 33 points did not finish (diverged)" in box


def test_numbers_are_those_of_the_files(written: SweepFolder, html: str) -> None:
    fits = read_study(written.fits)
    found, score = fits.average(AveragedQuantity.A_EXACT), fits.forecast
    assert found is not None
    assert score is not None
    text = text_of(html)
    assert f"a, N* ∝ C^a, exact FLOPs {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" in text
    assert "E, loss that remains, nats not identified [0.550, 1.750]" in text
    assert f"Forecast error, RMS {score.rms_percent:.2f} %" in text
    assert f"Inside the interval {100 * (score.inside_share or 0):.0f} %" in text
    assert "8 min 32 s" in text
    assert "Test CPU" in text
    assert fits.verdict in text


def test_profile_intervals_stand_beside_those_of_the_bootstrap(written: SweepFolder, html: str) -> None:
    fit = read_study(written.fits).quoted
    assert fit is not None
    text = text_of(html[html.index('id="figure-profile"') : html.index('id="points"')])
    for entry in fit.profile or ():
        low, high = ("open" if end is None else f"{end:.3f}" for end in entry.interval)
        assert f"[{low}, {high}]" in text.replace("−", "-")
        assert entry.rule in text
    assert "[open, " in text


def test_recommended_row_is_marked_once(html: str) -> None:
    table = html[html.index('id="exponents"') : html.index('id="forecast"')]
    assert len(re.findall(r'<tr class="chosen">', table)) == 1
    assert table.count("★</td>") == 1


@pytest.mark.usefixtures("without_figures")
def test_what_was_read_and_what_was_left_out_is_told(folder: SweepFolder) -> None:
    about = read_sweep(folder.sweep)
    assert about.corpus is not None
    steps = {"read": {"documents": 40, "bytes": 5_000_000}, "cleaned": {"documents": 31, "bytes": 4_000_000}}
    cleaned = {"steps": steps, "dropped": {"short": 2, "<b>": 7}, "dropped_first": {"short": "a/b.txt"}}
    example = {"item": "b.jsonl:3", "share": 0.25, "text": "Who <b>?", "in_text": "they said who"}
    found = {"file": "b.jsonl", "words": 13, "items": 70, "too_short": 6, "found": 5, "mostly_found": 2}
    cleaned |= {"deduplication": "exact", "contamination": found | {"examples": [example]}}
    corpus = replace(about.corpus, report=cleaned | {"bytes_per_token": 3.512})
    write_record(folder.sweep, replace(about, corpus=corpus))
    said = text_of(render_without_figures(folder))
    for words in (
        "in 10 documents",
        "3.512 bytes a token",
        "9 documents by 2 rules",
        "read 40 5.000 cleaned 31 4.000",
        "Near duplicates were found by this method: exact.",
        "5 occur in the training text in part: they share 13 words in a row",
        "Of 2 half or more occurs. 6 were too short to look for.",
        "b.jsonl:3 0.250 Who <b>? they said who",
    ):
        assert words in said
    assert said.index("<b> 7") < said.index("short 2 a/b.txt")
    bare = replace(corpus, n_documents=None, n_train_bytes=None, report={"files": 3, "split": "12 documents"})
    write_record(folder.sweep, replace(about, corpus=bare))
    said = text_of(render_without_figures(folder))
    assert "Held out: 12 documents, of 3 file(s)." in said
    assert "left out because" not in said


@pytest.mark.usefixtures("without_figures")
def test_what_curation_dropped_is_told_with_examples(folder: SweepFolder) -> None:
    def amount(documents: int, size: float) -> dict[str, int]:
        return {"documents": documents, "bytes": int(size)}

    example = {"id": "a/7", "reason": "short", "bytes": 120, "text": "Click <here>", "url": ""}
    about = read_sweep(folder.sweep)
    assert about.corpus is not None
    curation = {
        "recipe": {},
        "steps": [
            {"step": "read", "left": amount(90, 5e6), "dropped": {}, "examples": []},
            {
                "step": "gopher_quality",
                "left": amount(70, 4e6),
                "dropped": {f"rule {i}": amount(20 - i, 1) for i in range(7)},
                "examples": [example],
            },
        ],
        "lengths": [
            {"below": 256, "read": amount(20, 1e6), "left": amount(0, 0)},
            {"below": None, "read": amount(70, 4e6), "left": amount(70, 4e6)},
        ],
        "languages": {"en": {"found": amount(80, 4.5e6), "left": amount(70, 4e6)}},
        "n_tokens": 5,
    }
    corpus = replace(about.corpus, report={"curation": curation})
    write_record(folder.sweep, replace(about, corpus=corpus))
    said = text_of(render_without_figures(folder))
    for words in (
        "Of 90 documents 70 are left, 80.00 % of the bytes.",
        "gopher_quality 70 4.000 119 rule 0 20, rule 1 19, rule 2 18, rule 3 17, rule 4 16, and 2 more",
        "1 document that gopher_quality dropped",
        "short 120 Click <here> a/7",
        "below 256 20 1.000 0 0 longer 70 4.000 70 4.000",
        "en 80 4.500 70 4.000",
    ):
        assert words in said, words
    sources = {"sources": {}, "curation": curation | {"languages": {}}}
    write_record(folder.sweep, replace(about, corpus=replace(corpus, report=sources)))
    assert "No step told the language of a document." in text_of(render_without_figures(folder))


@pytest.mark.usefixtures("without_figures")
def test_no_row_is_recommended_against_an_objection(folder: SweepFolder, html: str) -> None:
    assert "<b>Recommended</b>" in html
    change_fits(folder, objection="9 cells are few")
    changed = report.write_report(folder.root).read_text()
    assert "<b>No row is recommended</b>: 9 cells are few." in changed
    assert "<b>Recommended</b>" not in changed


def test_every_point_and_every_excluded_row_is_listed(written: SweepFolder, html: str) -> None:
    points = pd.read_parquet(written.points)
    listing = html[html.index('id="points"') : html.index('id="glossary"')]
    tables = listing.split("<tbody>")
    assert tables[1].count('<tr id="point-row-') == len(points)
    assert tables[2].count("<tr><td>") == points.excluded_reason.notna().sum()
    assert "loss not finite at step 210" in tables[2]


def test_the_same_files_give_the_same_report(written: SweepFolder, folder: SweepFolder, html: str) -> None:
    again = report.write_report(folder.root).read_text()
    assert again == written.report.read_text().replace(">fake<", ">copy<").replace(": fake<", ": copy<")
    assert unscripted(again) == html.replace("fake", "copy")
    for path in written.figures.iterdir():
        assert (folder.figures / path.name).read_bytes() == path.read_bytes()


@pytest.mark.usefixtures("without_figures")
def test_text_from_files_is_escaped(folder: SweepFolder) -> None:
    change_fits(folder, verdict="<script>alert(1)</script>")
    html = report.write_report(folder.root).read_text()
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)" in html


@pytest.mark.usefixtures("without_figures")
def test_the_evaluation_error_that_cells_do_not_share_is_stated(folder: SweepFolder) -> None:
    noise, about = read_study(folder.fits).noise, read_sweep(folder.sweep)
    assert "not common to the cells" not in render_without_figures(folder)
    change_fits(folder, noise=replace(noise, evaluation=EvaluationRecord(40, 32, 9e-4, 0.065)))
    text = text_of(render_without_figures(folder))
    assert "Evaluation error not common to the cells: 0.09 % of the loss, 6.50 % of the seed variance" in text
    assert "tokens scored" not in text
    config = {**about.config, "data": {**about.config["data"], "eval_tokens": 196608}}
    write_record(folder.sweep, replace(about, config=config))
    change_fits(folder, noise=NoiseRecord(evaluation=EvaluationRecord(40, 32, 9e-4)))
    text = text_of(render_without_figures(folder))
    assert "0.09 % of the loss, 197k tokens scored, from 32 parts" in text


@pytest.mark.usefixtures("without_figures")
def test_broken_seal_is_the_first_warning(folder: SweepFolder) -> None:
    score = read_study(folder.fits).forecast
    assert score is not None
    change_fits(folder, forecast=replace(score, seal_intact=False))
    text = text_of(report.write_report(folder.root).read_text())
    assert "Warnings The seal of the forecast is broken" in text


def test_missing_parts_are_said_in_sentences(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_only(monkeypatch)
    change_fits(
        folder,
        fits=tuple(fit for fit in read_study(folder.fits).fits if fit.kaplan),
        recommended=None,
        frontier=(),
        frontier_by_count=(),
        rollout=(),
        forecast=None,
        reference=(),
        jackknife=JackknifeRecord(),
        contest=(),
        adequacy={},
        noise=NoiseRecord(),
    )
    folder.forecast.unlink()
    write_table(folder.curves, pd.read_parquet(folder.curves).head(0))
    text = text_of(report.write_report(folder.root).read_text())
    for sentence in (
        "This sweep names no hold-out",
        "No frontier: none of the fits",
        "This sweep holds no cosine reference runs",
        "No cell was trained with more than one seed",
        "No law could be tested",
        "No contest: too few runs",
        "No jackknife",
        "Loss curves: no curves were recorded",
        "IsoFLOP slices: no budget has enough sizes",
        "Residuals: no law in N and D was fitted",
        "Error against extrapolation: there are too few points",
        "Bootstrap cloud of the exponents: fits.json holds no resampled exponents",
        "Profiles of the parameters: fits.json holds no profiles",
        "Best size under each way to count: fits.json holds no best sizes",
    ):
        assert sentence in text


def test_forecast_without_a_score_is_shown_as_open(
    folder: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "explore", lambda _: None)
    monkeypatch.setattr(report, "try_forecasts", lambda _: [])
    draw_only(monkeypatch, "forecast_against_truth")
    change_fits(folder, forecast=None)
    html = report.write_report(folder.root).read_text()
    assert "The held-out runs are not finished, so there is no score yet." in text_of(html)
    assert 'id="figure-forecast"' in html


def unlink(name: str) -> Callable[[SweepFolder], None]:
    return lambda folder: (folder.root / name).unlink()


def garble(name: str) -> Callable[[SweepFolder], None]:
    def spoil(folder: SweepFolder) -> None:
        (folder.root / name).write_text("{not a table")

    return spoil


def newer(folder: SweepFolder) -> None:
    record = json.loads(folder.fits.read_text())
    del record["sha256"]
    write_json(folder.fits, record | {"schema": 99})


def all_failed(folder: SweepFolder) -> None:
    write_table(folder.points, pd.read_parquet(folder.points).assign(status="failed"))


def lose_column(folder: SweepFolder) -> None:
    write_table(folder.points, pd.read_parquet(folder.points).drop(columns="bits_per_byte"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (unlink("points.parquet"), "expected points.parquet in"),
        (unlink("curves.parquet"), "expected curves.parquet in"),
        (unlink("fits.json"), "expected fits.json in"),
        (unlink("sweep.json"), "expected sweep.json in"),
        (garble("fits.json"), "fits.json cannot be read (it is no JSON"),
        (garble("forecast.json"), "forecast.json cannot be read (it is no JSON"),
        (garble("points.parquet"), "points.parquet cannot be read"),
        (newer, "was written under schema 99 and this version reads up to 2; update the harness"),
        (all_failed, "no finished point"),
        (lose_column, "lacks the columns bits_per_byte"),
        (lambda folder: shutil.rmtree(folder.root), "which does not exist"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(
    folder: SweepFolder,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[SweepFolder], None],
    words: str,
) -> None:
    spoil(folder)
    assert main([str(folder.root)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert re.search(
        r"python -m harness\.sweep \+grid=|type its command again|put it back from a copy|update the harness",
        error,
    )
    assert error.count("\n") == 1


def test_command_runs_as_a_module(tmp_path: Path) -> None:
    run = preloaded.run(
        [sys.executable, "-m", "analysis.report", str(tmp_path / "nothing")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
