"""Live figures of sections in a real browser: lists, legends and points are used, numbers are read off."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from analysis.plots.in_context import SCORES
from analysis.records.emergence import SizeRow, TaskRecord
from harness.records.number_text import power_of_ten, si
from tests.analysis.report.section_pages import figures_of, replications, sweep_of
from tests.browser import CHROMIUM, NO_BROWSER, Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
TASKS = "#figure-emergence_overview"
Opened = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def opened(chromium: Browser, section_file: Callable[[str], Path]) -> Opened:
    """Opens the page of a committed sweep at a figure, and closes it after it was found without complaint."""

    @contextmanager
    def open_at(name: str, figure: str, fragment: str = "", **options: Any) -> Iterator[Page]:
        page = chromium.open(section_file(name), fragment, **options)
        page.place(figure)
        page.until(f"document.querySelector('{figure} .live-chart svg')")
        yield page
        assert page.complaints() == []
        page.close()

    return open_at


def charts(page: Page, figure: str) -> str:
    """The text of all charts of a figure that are shown."""
    shown = f"[...document.querySelectorAll('{figure} .live-chart:not([hidden])')].map(e => e.textContent)"
    return " ".join(page.run(shown))


def count(page: Page, figure: str, marks: str) -> int:
    return int(page.run(f"document.querySelectorAll('{figure} .told_{marks} path').length"))


def spots(page: Page, figure: str, marks: str) -> list[list[float]]:
    """Where the points of a mark lie, CSS pixels, in the order of their rows."""
    page.place(f"{figure} .told_{marks}")
    page.until(f"document.querySelector('{figure} .told_{marks} path')")
    found: list[list[float]] = page.run(
        f"[...document.querySelectorAll('{figure} .told_{marks} path')].map(e => {{"
        "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]})"
    )
    return found


def card(page: Page, figure: str, marks: str, i: int) -> dict[str, str]:
    """What the card says when the mouse lies on a point."""
    x, y = spots(page, figure, marks)[i]
    page.point(5, 5)
    page.point(x, y)
    assert not page.run("document.querySelector('#live-card').hidden"), "another point lies on top"
    title, *rest = page.run(
        "[document.querySelector('#live-card b').textContent,"
        "...document.querySelectorAll('#live-card dt, #live-card dd')].map(e => e.textContent ?? e)"
    )
    return {"": title, **dict(zip(rest[::2], rest[1::2], strict=True))}


def number(text: str) -> float:
    return float(re.sub(r"[ ×%].*", "", text).replace("−", "-").removeprefix("+"))


def ends(text: str) -> tuple[float, float]:
    low, high = text[text.index("[") + 1 : text.index("]")].replace("−", "-").split(", ")
    return float(low.split(" ")[0].removeprefix("+")), float(high.split(" ")[0].removeprefix("+"))


def task_of(name: str) -> TaskRecord:
    found = sweep_of("emergence").emergence
    assert found
    (task,) = [task for task in found.first if task.name == name]
    return task


def largest(task: TaskRecord) -> SizeRow:
    return task.sizes[-1]


def choose(page: Page, figure: str, choice: str, value: str) -> None:
    page.choose(f"{figure} [data-choice={choice}]", value)


def test_a_task_is_chosen_and_its_points_say_their_numbers(opened: Opened) -> None:
    with opened("emergence", TASKS) as page:
        choose(page, TASKS, "task", "recall")
        own = [task_of(f"recall {length}") for length in (2, 4, 8, 16)]
        said = page.text(f"{TASKS} .live-said")
        assert all(f"{task.name}: {task.label}" in said for task in own)
        assert count(page, TASKS, "skills") == sum(len(task.sizes) for task in own)
        lengths = f"[...document.querySelectorAll('{TASKS} [data-series^=length]')].map(e => e.textContent)"
        assert page.run(lengths) == [f"length {length}" for length in (2, 4, 8, 16)]
        told = card(page, TASKS, "skills", len(own[0].sizes) * 4 - 1)
        size = largest(own[3])
        assert told[""] == "recall 16"
        assert told["model size N"] == si(size.at)
        assert number(told["NLL, nats per token"]) == pytest.approx(size.nll, rel=2e-3)
        assert number(told["NLL by the law"]) == pytest.approx(size.law, rel=2e-3)
        assert ends(told["NLL by the law"]) == pytest.approx((size.law_low, size.law_high), rel=5e-3)
        assert number(told["exact match of guessing"]) == pytest.approx(own[3].chance, rel=2e-2)
        told = card(page, TASKS, "measured", 11 * 4 - 1)
        assert number(told["exact match"]) == pytest.approx(size.exact, rel=2e-3)


def test_the_level_of_guessing_lies_where_the_axis_says(opened: Opened) -> None:
    with opened("emergence", TASKS, "#task=recall&metric=exact") as page:
        own = [task_of(f"recall {length}") for length in (2, 4, 8, 16)]
        exact = [size.exact for task in own for size in task.sizes]
        low, high = min(exact), max(exact)  # type: ignore[type-var]
        heights = [y for _, y in spots(page, TASKS, "measured")]
        top, bottom = heights[exact.index(high)], heights[exact.index(low)]
        drawn = page.run(
            f"[...document.querySelectorAll('{TASKS} .guessing line')]"
            ".map(e => e.getBoundingClientRect()).map(b => b.y + b.height / 2)"
        )
        assert low is not None
        assert high is not None
        found = [low + (high - low) * (y - bottom) / (top - bottom) for y in drawn]
        assert found == pytest.approx([task.chance for task in own], abs=0.01)
        page.click(f"{TASKS} [data-series=guessing]")
        lines = (
            f"[...document.querySelectorAll('{TASKS} .guessing line')].map(e => e.getAttribute('opacity'))"
        )
        assert {float(text) for text in page.run(lines)} == {0}


def test_metric_and_axis_are_chosen_and_travel_in_the_address(opened: Opened) -> None:
    with opened("emergence", TASKS) as page:
        shown = f"document.querySelectorAll('{TASKS} .live-chart:not([hidden])').length"
        assert page.run(shown) == 2
        choose(page, TASKS, "task", "copy")
        page.click(f"{TASKS} [data-series^=length]")
        n = count(page, TASKS, "skills")
        choose(page, TASKS, "metric", "exact")
        assert page.run(shown) == 1
        assert "exact match" in charts(page, TASKS)
        assert "NLL, nats" not in charts(page, TASKS)
        # A length that was hidden stays hidden under the other metric.
        assert count(page, TASKS, "measured") == n == 3 * len(task_of("copy 4").sizes)
        choose(page, TASKS, "metric", "loglog")
        assert "ln(−ln exact match)" in charts(page, TASKS)
        choose(page, TASKS, "metric", "smooth")
        choose(page, TASKS, "along", "loss")
        assert "loss on text, nats" in charts(page, TASKS)
        # Better models, of a lower loss, lie to the right.
        across = [x for x, _ in spots(page, TASKS, "skills")[: len(task_of("copy 8").sizes)]]
        assert across == sorted(across)
        address = page.run("location.hash")
        hidden = "parts=emergence_overview.length8"
        assert set(address.strip("#").split("&")) == {"task=copy", "metric=smooth", "along=loss", hidden}
        n = count(page, TASKS, "skills")
    with opened("emergence", TASKS, address) as page:
        assert count(page, TASKS, "skills") == n
        assert "loss on text, nats" in charts(page, TASKS)
        assert page.run(f"document.querySelector('{TASKS} [data-choice=task]').value") == "copy"
    with opened("emergence", TASKS, "#task=%3Cb%3E&metric=none&along=7") as page:
        assert page.run(f"document.querySelector('{TASKS} [data-choice=task]').value") == "addition"


def test_a_part_of_a_turned_axis_stays_turned(opened: Opened) -> None:
    with opened("emergence", TASKS, "#task=text&along=loss") as page:
        before = spots(page, TASKS, "skills")
        (left, _), (right, _) = before[2], before[8]
        top, bottom = (edge(y for _, y in before) for edge in (min, max))
        for kind, x, y in (
            ("mousePressed", left - 4, top - 8),
            ("mouseMoved", right, bottom),
            ("mouseReleased", right + 4, bottom + 8),
        ):
            page.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
        after = [x for x, _ in spots(page, TASKS, "skills")]
        assert after == sorted(after)
        assert after[8] - after[2] > 1.2 * (right - left)


def test_tasks_are_sorted_with_their_verdicts(opened: Opened) -> None:
    """A task is two rows; a click on a heading moves both, and CSV has a line a task."""
    rows = "[...document.querySelectorAll('#emergence ~ .scroll table')[0].tBodies]"
    read = f"{rows}.map(e => [e.rows[0].cells[1].innerText, e.rows[0].innerText, e.rows[1].innerText])"
    with opened("emergence", TASKS) as page:
        before = page.run(read)
        assert len(before) > 20
        page.click("#emergence ~ .scroll thead th:nth-child(2) button")
        after = page.run(read)
        losses = [number(text) for text, *_ in after]
        assert losses == sorted(losses)
        assert after != before
        assert sorted(map(tuple, after)) == sorted(map(tuple, before))
        page.browser.send("Browser.setDownloadBehavior", behavior="deny")
        page.run(
            "(() => {const made = URL.createObjectURL; URL.createObjectURL = (blob) => {"
            "window.saved = blob.text(); return made(blob)}})()"
        )
        page.click("#emergence ~ .live-tools .live-save")
        lines = page.run("window.saved").splitlines()
        assert len(lines) == 1 + len(before)
        assert after[0][2].split(".")[0].replace('"', "") in lines[1]


def test_a_task_without_exact_match_shows_the_smooth_metric(opened: Opened) -> None:
    with opened("emergence", TASKS, "#task=text&metric=exact") as page:
        assert "NLL, nats per token" in charts(page, TASKS)
        assert "exact match" not in charts(page, TASKS)


def test_in_context_learning_is_shown_one_measure_at_a_time(opened: Opened) -> None:
    figure = "#figure-in_context"
    found = sweep_of("emergence").emergence
    assert found
    with opened("emergence", figure) as page:
        assert "position in the text" in charts(page, figure)
        choose(page, figure, "contexts", "scores")
        own = [each for each in found.in_context if each.metric in SCORES]
        i = max(i for i, each in enumerate(own) if each.metric == "icl_score")
        told = card(page, figure, "scores", i)
        assert told[""] == "late − early loss on text"
        assert number(told["nats per token"]) == pytest.approx(own[i].value, rel=2e-3)
        assert told["N"] == si(own[i].n_params)


def test_runs_of_a_rate_say_rate_and_loss_and_light_their_row(opened: Opened) -> None:
    figure, rows = "#figure-learning_rate_hidden", figures_of("lr")["learning_rate_hidden"].rows
    runs = rows["rates_hidden_runs"]
    with opened("lr", figure) as page:
        i = max(range(len(runs)), key=lambda i: runs[i]["excess"])
        told = card(page, figure, "rates_hidden_runs", i)
        assert told["run"] == runs[i]["run"]
        assert number(told["rate"]) == pytest.approx(runs[i]["rate"], rel=5e-3)
        assert number(told["loss, nats per token"]) == pytest.approx(runs[i]["loss"], abs=1e-3)
        assert number(told["above the best"]) == pytest.approx(runs[i]["excess"], abs=0.01)
        row = f"document.querySelector('#point-row-{runs[i]['id']}')"
        assert page.run(f"{row}.classList.contains('lit')")
        assert f"{runs[i]['loss']:.3f}" in page.run(f"{row}.innerText")
        x, y = spots(page, figure, "rates_hidden_runs")[i]
        for kind in ("mousePressed", "mouseReleased"):
            page.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
        page.point(5, 5)
        page.click("#live-card a")
        assert page.run("location.hash") == f"#point-row-{runs[i]['id']}"


def test_the_best_rate_has_its_interval_and_axes_become_linear(opened: Opened) -> None:
    rates = sweep_of("lr").learning_rate
    assert rates
    (group,) = [each for each in rates.groups if each.group == "embed"]
    figure = "#figure-learning_rate_embed"
    with opened("lr", figure) as page:
        optimum = max(group.optima, key=lambda row: row.d_model)
        told = card(page, figure, "rates_embed_best", len(group.optima) - 1)
        assert number(told["best rate"]) == pytest.approx(optimum.rate_opt, rel=5e-3)
        assert ends(told["best rate"]) == pytest.approx(optimum.rate_interval, rel=5e-3)
        assert number(told["recipe costs"]) == pytest.approx(optimum.recipe_cost_percent, abs=0.01)
        before = [x for x, _ in spots(page, figure, "rates_embed_best")]
        page.click("#live-linear")
        after = [x for x, _ in spots(page, figure, "rates_embed_best")]
        widths = sorted(row.d_model for row in group.optima)
        share = (after[1] - after[0]) / (after[2] - after[0])
        assert share == pytest.approx((widths[1] - widths[0]) / (widths[2] - widths[0]), abs=0.01)
        assert before != after
        page.click(f"{figure} [data-series=rung0]")
        assert count(page, figure, "rates_embed_best") == len(group.optima) - 1


def test_arms_say_the_multiplier_that_is_chosen(opened: Opened) -> None:
    comparisons = sweep_of("compare").fits.comparisons
    assert comparisons
    figure = "#figure-arms"
    with opened("compare", figure) as page:
        assert "compute of base over that of the arm" in charts(page, figure)
        heights = spots(page, figure, "arms")
        choose(page, figure, "of", "tokens")
        assert "tokens of base over that of the arm" in charts(page, figure)
        assert spots(page, figure, "arms") != heights
        top = comparisons[0].top
        told = card(page, figure, "arms", len(comparisons[0].rows) - 1)
        assert told[""] == comparisons[0].second
        assert told["C"] == power_of_ten(top.flops)
        assert number(told["multiplier of compute"]) == pytest.approx(top.compute, abs=1e-3)
        assert ends(told["multiplier of compute"]) == pytest.approx(top.compute_interval, abs=1e-3)
        assert ends(told["of tokens"]) == pytest.approx(top.tokens_interval, abs=1e-3)


def test_held_out_runs_say_forecast_and_truth(opened: Opened) -> None:
    sweep = sweep_of("chinchilla")
    ((_, score),) = sweep.scored
    assert score
    figure = "#figure-forecast"
    with opened("chinchilla", figure) as page:
        i = max(range(len(score.cells)), key=lambda i: score.cells[i].factor)
        cell = score.cells[i]
        told = card(page, figure, "measured", i)
        assert told[""].startswith(cell.rung)
        assert number(told["times the largest fitted run"]) == pytest.approx(cell.factor, rel=5e-3)
        assert number(told["forecast"]) == pytest.approx(cell.predicted, abs=1e-3)
        assert ends(told["forecast"]) == pytest.approx((cell.low, cell.high), abs=1e-3)
        assert number(told["measured"]) == pytest.approx(cell.loss, abs=1e-3)
        assert number(told["forecast − measured"]) == pytest.approx(cell.error_percent, abs=0.01)
        lit = page.run("document.querySelector('tr.lit').innerText")
        assert cell.rung in lit
        assert f"{cell.loss:.3f}" in lit
        page.choose("#live-unit", "bits")
        assert "measured loss, bits per byte" in charts(page, figure)
        told = card(page, figure, "measured", i)
        ratio = json.loads(page.run("document.querySelector('#live-data').textContent"))["bits_per_nat"]
        assert number(told["measured"]) == pytest.approx(cell.loss * ratio, abs=1e-3)
        n = count(page, figure, "measured")
        page.click(f"{figure} [data-series=law1]")
        assert count(page, figure, "measured") == 2 * n == 4 * len(score.cells)


def test_ends_forecast_on_the_way_say_what_came_true(opened: Opened) -> None:
    figure, rows = "#figure-ends", figures_of("chinchilla")["ends"].rows["ends"]
    with opened("chinchilla", figure) as page:
        i = max(range(len(rows)), key=lambda i: rows[i]["error"])
        told = card(page, figure, "ends", i)
        assert told["run"] == rows[i]["run"]
        assert told["share of training known"] == f"{100 * rows[i]['share']:.0f} %"
        assert number(told["forecast"]) == pytest.approx(rows[i]["predicted"], abs=1e-3)
        assert number(told["measured"]) == pytest.approx(rows[i]["loss"], abs=1e-3)
        assert ends(told["forecast − measured"]) == pytest.approx(
            (rows[i]["error_low"], rows[i]["error_high"]), abs=0.01
        )


def test_losses_on_sources_name_the_source(opened: Opened) -> None:
    figure, rows = "#figure-loss_by_source", figures_of("mixture")["loss_by_source"].rows["source_losses"]
    with opened("mixture", figure) as page:
        i = min(range(len(rows)), key=lambda i: rows[i]["loss"])
        told = card(page, figure, "source_losses", i)
        assert told[""] == sweep_of("mixture").fits.sources[rows[i]["g"]].source
        assert number(told["loss on the source, nats"]) == pytest.approx(rows[i]["loss"], abs=1e-3)


def test_replications_are_looked_at_cell_by_cell(opened: Opened) -> None:
    found = replications()
    with opened("replications", "#figure-errors") as page:
        rows = figures_of("replications")["errors"].rows["errors"]
        i = max(range(len(rows)), key=lambda i: rows[i]["error"])
        told = card(page, "#figure-errors", "errors", i)
        assert told[""].startswith(rows[i]["name"])
        assert number(told["forecast − measured"]) == pytest.approx(rows[i]["error"], abs=0.01)
        figure = "#figure-intervals"
        page.place(figure)
        page.until(f"document.querySelector('{figure} .live-chart svg')")
        place = len(found.replications[0].cells) - 1
        options = figures_of("replications")["intervals"].choices[0].options
        choose(page, figure, "cell", options[place].value)
        own = [each.cells[place] for each in found.replications]
        inside = sum(cell.inside for cell in own)
        assert page.text(f"{figure} .live-said").startswith(f"{inside} of {len(own)} ")
        told = card(page, figure, "cells", 0)
        assert told[""].startswith(found.replications[0].name)
        assert number(told["measured, nats"]) == pytest.approx(own[0].loss, abs=1e-3)
        assert ends(told["forecast, nats"]) == pytest.approx((own[0].low, own[0].high), abs=1e-3)
        page.click(f"{figure} [data-series=inside]")
        page.until(f"document.querySelectorAll('{figure} .told_cells path').length === {len(own) - inside}")
        figure = "#figure-parameters"
        choose(page, figure, "parameter", "E")
        page.place(figure)
        page.until(f"document.querySelector('{figure} .told_estimates path')")
        (first,) = [each for each in found.replications[0].parameters if each.name == "E"]
        told = card(page, figure, "estimates", 0)
        assert number(told["estimate"]) == pytest.approx(first.value, abs=1e-3)
        assert number(told["mean of the others"]) == pytest.approx(first.others_mean, abs=1e-3)


def test_paper_and_pages_without_script_show_the_static_figure(opened: Opened, chromium: Browser) -> None:
    parts = f"[...document.querySelectorAll('{TASKS} > *')]"
    parts += ".map(e => [e.className, getComputedStyle(e).display])"
    with opened("emergence", TASKS) as page:
        assert dict(page.run(parts))["plot"] == "none"
        page.media(paper=True)
        shown = {name for name, display in page.run(parts) if display != "none"}
        assert shown == {"plot", ""}
        address = page.run("location.href")
    bare = chromium.open(address, script=False)
    assert bare.run(f"document.querySelector('{TASKS} .live-chart, {TASKS} select')") is None
    assert dict(bare.run(parts))["plot"] == "block"
    bare.close()


def test_what_is_chosen_is_saved(opened: Opened, tmp_path: Path) -> None:
    with opened("emergence", TASKS, "#task=copy") as page:
        page.browser.send(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path), eventsEnabled=True
        )
        page.browser.events.clear()
        page.click(f"{TASKS} .live-save:last-child")
        done = "Browser.downloadProgress"
        saved: list[dict[str, Any]] = []
        while len(saved) < 2:
            page.run("1")
            saved = [
                each
                for each in page.browser.events
                if each["method"] == done and each["params"]["state"] == "completed"
            ]
        smooth, exact = ((tmp_path / f"emergence_overview-{i}.svg").read_text() for i in (1, 2))
        assert "NLL, nats per token" in smooth
        assert "exact match" in exact


def test_a_telephone_needs_no_sideways_scrolling(opened: Opened) -> None:
    for name, figure in (("emergence", TASKS), ("lr", "#figure-learning_rate_hidden")):
        with opened(name, figure, width=390, height=844) as page:
            assert page.run("document.documentElement.scrollWidth") <= 390


def test_the_page_of_many_tasks_leaves_room_for_its_static_figures(
    section_file: Callable[[str], Path],
) -> None:
    """Scripts, data and tables; a report may have 2.2 MB."""
    assert section_file("emergence").stat().st_size < 1.25e6


def test_curves_of_a_sweep_without_reference_runs_are_drawn(opened: Opened) -> None:
    with opened("emergence", "#figure-loss_curves") as page:
        page.until("document.querySelectorAll('#figure-loss_curves .live-chart svg').length === 2")
        assert page.run("document.querySelector('#figure-loss_curves [data-series=others]')") is None
        # Tasks are in the training text alone.
        assert (
            page.run("document.querySelector('#figure-loss_curves [data-control=curve]').value")
            == "evaluated"
        )
