"""Figures that test a law, in a browser: they follow the choice of a law, the budget and the selection."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.plots.law_tests import SMALLEST_ERROR, rms_by_factor
from analysis.plots.style import VERMILION
from analysis.report.build import Sweep
from harness.records.number_text import power_of_ten, si
from tests.analysis.report import timings
from tests.analysis.report.live_pages import DRAWN, all_of, number
from tests.analysis.report.test_live_sections import card, count, spots
from tests.analysis.report.test_live_selection import drag
from tests.browser import CHROMIUM, NO_BROWSER, Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
Json = dict[str, Any]
FORECAST = "#figure-forecast"
RULES = f".mark-rule line[stroke='{VERMILION}']"


def see(page: Page, figure: str) -> None:
    page.place(figure)
    page.until(f"document.querySelector('{figure} .live-chart svg')")


def rows_of(data: Json, name: str) -> list[Json]:
    columns = data["rows"][name]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def pressed(page: Page) -> list[str]:
    """Labels of the laws that the legend of the forecast shows."""
    buttons = f"{FORECAST} [data-series^=law][aria-pressed=true]"
    return [str(text) for text in page.run(all_of(buttons, "e.textContent"))]


def test_the_choice_of_a_law_chooses_its_forecast(page: Page, data: Json) -> None:
    see(page, FORECAST)
    assert pressed(page) == ["over the laws"]
    cells = [row for row in rows_of(data, "forecast_1") if row["g"] == 0]
    for law in ("chinchilla", "joint"):
        page.choose("#live-law", str(data["laws"].index(law)))
        assert pressed(page) == [law]
        labels = [each["label"] for each in data["charts"]["forecast"][0]["usermeta"]["series"]]
        own = [row for row in rows_of(data, "forecast_1") if row["g"] == labels.index(law)]
        assert count(page, FORECAST, "measured") == 2 * len(cells)
        told = card(page, FORECAST, "measured", 0)
        assert told[""] == f"{own[0]['rung']}, {law}"
        assert number(told["forecast"]) == pytest.approx(own[0]["predicted"], abs=6e-4)
        assert page.text(f"{FORECAST} .live-unsealed") == ""


def test_a_law_of_which_no_forecast_was_sealed_is_said_to_have_none(page: Page, data: Json) -> None:
    see(page, FORECAST)
    page.choose("#live-law", str(data["laws"].index("all laws without d16")))
    assert pressed(page) == ["over the laws"]
    assert "No forecast of the chosen law was sealed" in page.text(f"{FORECAST} .live-unsealed")


def test_forecasts_shown_by_hand_travel_and_end_with_the_next_choice(
    page: Page, chromium: Browser, file: Path, data: Json
) -> None:
    see(page, FORECAST)
    page.choose("#live-law", str(data["laws"].index("joint")))
    page.click(f"{FORECAST} [data-series=law2]")
    assert pressed(page) == ["joint", "chinchilla"]
    other = chromium.open(file, page.run("location.hash"))
    other.until(DRAWN)
    assert pressed(other) == ["joint", "chinchilla"]
    other.close()
    page.choose("#live-law", "0")
    assert pressed(page) == ["over the laws"]
    assert "parts" not in page.run("location.hash")


def test_the_budget_is_a_line_in_both_charts_of_the_forecast(page: Page, data: Json) -> None:
    see(page, FORECAST)
    rows = [row for row in rows_of(data, "forecast_1") if row["g"] == 0]
    row = max(rows, key=lambda each: each["c"])
    page.choose("#live-value", str(row["c"]))
    places = np.array(spots(page, FORECAST, "measured"))
    box = "e.getBoundingClientRect().toJSON()"
    lines = [page.run(all_of(f"{FORECAST} .live-chart:nth-child({i}) {RULES}", box)) for i in (1, 2)]
    assert [len(found) for found in lines] == [1, 1]
    left, right = places[: len(rows)], places[len(rows) :]
    assert lines[1][0]["x"] == pytest.approx(right[rows.index(row)][0], abs=1.5)
    # In the left chart it lies at the loss of the answer, on the axis of forecast losses.
    slope = np.polyfit(np.log([each["predicted"] for each in rows]), left[:, 1], 1)
    loss = number(page.text("#live-out-loss"))
    assert lines[0][0]["y"] == pytest.approx(np.polyval(slope, np.log(loss)), abs=2)


MARKS = {"forecast": "measured", "ends": "ends", "rollout": "rollouts"}


@pytest.mark.parametrize("figure", MARKS)
def test_runs_are_selected_in_figures_of_sections_too(page: Page, data: Json, figure: str) -> None:
    marks, known = MARKS[figure], {run["id"] for run in data["runs"]}
    see(page, f"#figure-{figure}")
    page.choose("#live-drag", "pick")
    places = np.array(spots(page, f"#figure-{figure}", marks))
    if figure == "forecast":
        places = places[: len(places) // 2]
    drag(page, tuple(places.min(0) - 9), tuple(places.max(0) + 9))
    rows = rows_of(data, "forecast_1" if figure == "forecast" else marks)
    shown = {run for row in rows for run in row.get("runs", [row["id"]])} & known
    picked = page.run("[...document.querySelectorAll('tr.picked')].map(e => e.id)")
    assert set(picked) == {f"point-row-{run}" for run in shown}
    # One run alone: the points of the others become faint here.
    page.press("Escape")
    page.run(f"document.querySelector('[data-run=\"{max(shown)}\"]').click()")
    strong = "Number(e.getAttribute('opacity')) > 0.5"
    clear: list[bool] = page.run(all_of(f"#figure-{figure} .dots_{marks} path", strong))
    assert 0 < sum(clear) < len(clear) / 2


def test_a_prediction_of_the_rollout_says_its_numbers(page: Page, sweep: Sweep) -> None:
    figure = "#figure-rollout"
    see(page, figure)
    rows = sweep.fits.rollout
    place = int(np.argmax([abs(row.predicted / row.loss - 1) for row in rows]))
    row = rows[place]
    told = card(page, figure, "rollouts", place)
    assert (told["N"], told["D"]) == (si(row.n_params), si(row.n_tokens))
    assert number(told["predicted"]) == pytest.approx(row.predicted, abs=6e-4)
    assert number(told["measured"]) == pytest.approx(row.loss, abs=6e-4)
    assert told["fitted up to C"] == power_of_ten(row.c_fit)
    error = 100 * (row.predicted / row.loss - 1)
    assert float(told["predicted − measured"].split(" ")[0].replace("−", "-")) == pytest.approx(
        error, abs=6e-3
    )


def test_means_of_the_rollout_are_those_of_its_errors(sweep: Sweep) -> None:
    found = rms_by_factor(sweep.fits.rollout)
    for law, means in found.items():
        own = np.array([row.error for row in sweep.fits.rollout if row.law == law])
        factors, rms = np.array(means).T
        assert (np.diff(factors) > 0).all()
        assert np.sqrt((own**2).mean()) * 100 <= rms.max()
        assert rms.min() >= 100 * np.abs(own).min()
        assert rms.max() > SMALLEST_ERROR


def test_counting_shows_every_run_under_every_count(page: Page, data: Json) -> None:
    figure = "#figure-counting"
    see(page, figure)
    runs = f"document.querySelectorAll('{figure} .hits path').length"
    assert page.run(runs) == len(data["counts"]) * len(data["runs"])
    best = [row for row in rows_of(data, "counted_best") if row["g"] == 1]
    told = card(page, figure, "counted_best", rows_of(data, "counted_best").index(best[-1]))
    assert told["best size N*"].startswith(si(best[-1]["n"]))
    assert told["C"] == power_of_ten(best[-1]["c"])
    page.click(f"{figure} [data-series=count1]")
    assert page.run(runs) == (len(data["counts"]) - 1) * len(data["runs"])
    page.click(f"{figure} [data-series=count1]")
    assert page.run(f"document.querySelectorAll('{figure} .budget path').length") == 1


def test_clouds_and_profiles_say_their_numbers(page: Page, sweep: Sweep) -> None:
    assert sweep.primary
    assert sweep.primary.profile
    see(page, "#figure-cloud")
    told = card(page, "#figure-cloud", "cloud_estimate", 0)
    alpha, beta = (sweep.primary.params[name] for name in ("alpha", "beta"))
    assert number(told["α"]) == pytest.approx(alpha, rel=5e-3)
    assert number(told["β/(α+β)"]) == pytest.approx(beta / (alpha + beta), rel=5e-3)
    low, high = json.loads(told["α"][told["α"].index("[") :])
    assert (low, high) == pytest.approx(sweep.primary.interval["alpha"], rel=5e-3)
    see(page, "#figure-profile")
    entry = sweep.primary.profile[0]
    told = card(page, "#figure-profile", f"profile_{entry.parameter}", 0)
    assert number(told["objective above its minimum, %"]) == pytest.approx(
        100 * (entry.objective[0] / entry.lowest - 1), rel=5e-3
    )


def test_the_page_says_rightly_which_figures_show_the_answer(page: Page, data: Json) -> None:
    """`at` is the answer; figures that lack it are those that the sentence names."""
    without = {
        name
        for name, charts in data["charts"].items()
        if not all("at." in json.dumps(chart["marks"]) for chart in charts)
    }
    assert without == {"rollout", "cloud", "profile", "ends"}
    said = page.text("#live-budget")
    assert all(words in said for words in ("parameters", "extrapolation", "ends forecast on the way"))


def test_promises_of_speed_that_are_broken_are_named() -> None:
    assert timings.broken_promises(1500, {"ends": 150, "cloud": 3}) == []
    late = timings.broken_promises(1600, {"ends": 151, "cloud": 3})
    assert [line.partition(" ms")[0] for line in late] == [
        "the first figure came after 1600",
        "with ends a move takes 151",
    ]
