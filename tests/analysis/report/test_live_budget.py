"""What a budget buys, costs and needs with inference: numbers read off the page against those of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.averaging.average import average_laws
from analysis.frontier import find_frontier
from analysis.prediction.demand import demanded_run
from analysis.prediction.predictor import Predictor
from analysis.report.build import Sweep
from analysis.result import Fit
from analysis.tables.table import LossTable, load_table
from tests.analysis.report.live_pages import DRAWN, answer, number, read
from tests.browser import CHROMIUM, NO_BROWSER, Browser, Page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_BROWSER)
FLOPS = 1e13
NEED = ("n", "d", "ratio", "c", "inference", "saved")


@pytest.fixture(scope="module")
def table(sweep: Sweep) -> LossTable:
    assert sweep.fits.primary
    return load_table(sweep.finished, count=sweep.fits.primary.count)


@pytest.fixture(scope="module")
def predictor(sweep: Sweep, table: LossTable) -> Predictor:
    """What `analysis.plan` asks, over the laws of the page."""
    fit = sweep.fits.quoted
    assert fit
    laws = list(dict.fromkeys(row.law for row in sweep.fits.contest if row.count == fit.count))
    return Predictor.over_laws(table, laws=laws)


def needed(page: Page) -> dict[str, float]:
    return {name: number(page.text(f"#live-out-need-{name}")) for name in NEED}


def ends(page: Page, name: str) -> tuple[float, ...]:
    return tuple(number(part) for part in page.text(f"#live-low-high-{name}").strip("[]").split(", "))


def test_numbers_are_those_of_a_plan(page: Page, predictor: Predictor) -> None:
    """The page states medians of draws; a plan states the estimate where one law is left."""
    page.choose("#live-value", f"{FLOPS:g}")
    planned, found = predictor.best(flops=FLOPS), answer(page)
    for name, one in (("n", planned.n), ("d", planned.d), ("loss", planned.loss)):
        assert number(found[name]) == pytest.approx(one.value, rel=0.02), name
        assert one.interval
        assert ends(page, name) == pytest.approx(one.interval, rel=0.02), name
    assert planned.flat
    low, high = (number(part) for part in found["flat"].split(" – "))
    assert (low, high) == pytest.approx(planned.flat, rel=0.02)


def test_a_law_alone_gives_its_frontier(page: Page, table: LossTable, data: dict[str, Any]) -> None:
    page.choose("#live-law", str(data["laws"].index("chinchilla")))
    page.choose("#live-value", f"{FLOPS:g}")
    alone = average_laws(table, ["chinchilla"], resamples=0).best
    fit = Fit(
        law="chinchilla",
        approach="parametric",
        estimator="gls",
        count=table.count,
        nobs=len(table),
        n_clusters=len(table),
        estimates=dict(zip(alone.law.params, alone.theta.tolist(), strict=True)),
        level=0.9,
        largest_c=float(table.c.max()),
    )
    curve, found = find_frontier(fit, table, FLOPS), answer(page)
    for name, value in (("n", curve.n_opt), ("d", curve.d_opt), ("loss", curve.loss)):
        assert number(found[name]) == pytest.approx(value[0], rel=0.03), name


def test_speed_and_price_turn_a_budget_into_hours_and_money(page: Page) -> None:
    assert answer(page)["cost"] == "–"
    page.choose("#live-value", "3.6e15")
    page.choose("#live-speed", "1e10")
    page.choose("#live-price", "2.5")
    found = answer(page)
    assert found["hours"] == "100 h"
    assert found["cost"] == "250.00"


@pytest.mark.parametrize(("name", "typed", "flops"), [("hours", "0.5", 1.8e13), ("cost", "2", 2.88e13)])
def test_hours_or_money_are_spent_as_the_law_says(
    page: Page, data: dict[str, Any], name: str, typed: str, flops: float
) -> None:
    disabled = f"document.querySelector('#live-given option[value={name}]').disabled"
    assert page.run(disabled) == (name == "cost")  # Until there is a price.
    page.choose("#live-speed", "1e10")
    page.choose("#live-price", "2.5")
    page.choose("#live-given", name)
    page.choose("#live-value", typed)
    found, curve = answer(page), data["frontier"][0]
    assert number(found["c"]) == pytest.approx(flops, rel=5e-3)
    for axis in ("n", "d", "loss"):
        assert number(found[axis]) == pytest.approx(read(curve, axis, flops), rel=5e-3)
    assert number(found["cost"]) == pytest.approx(flops / 1e10 / 3600 * 2.5, abs=0.006)
    page.run("document.querySelector('#live-slider').focus()")
    page.press("ArrowRight")
    assert number(answer(page)["c"]) > flops
    page.choose("#live-price", "")
    given = page.run("document.querySelector('#live-given').value")
    assert given == ("hours" if name == "hours" else "c")


@pytest.mark.parametrize("demand", ["20M", "1B"])
def test_inference_asks_for_the_run_of_a_plan(page: Page, predictor: Predictor, demand: str) -> None:
    page.choose("#live-value", f"{FLOPS:g}")
    page.choose("#live-inference", demand)
    found = needed(page)
    planned = demanded_run(predictor, predictor.best(flops=FLOPS).loss.value, number(demand))
    assert found["n"] == pytest.approx(planned.n.value, rel=0.02)
    assert planned.n.interval
    assert ends(page, "need-n") == pytest.approx(planned.n.interval, rel=0.03)
    assert found["d"] == pytest.approx(planned.d, rel=0.04)
    assert found["ratio"] == pytest.approx(planned.d / planned.n.value, rel=0.06)
    assert found["c"] == pytest.approx(planned.training_flops, rel=0.04)
    assert found["inference"] == pytest.approx(planned.inference_flops, rel=0.03)
    assert found["saved"] == pytest.approx(100 * planned.saved, abs=1)
    assert "%" in page.text("#live-out-need-saved")


def test_inference_is_marked_in_every_figure_and_given_size_has_it_too(page: Page) -> None:
    page.choose("#live-inference", "100M")
    page.choose("#live-given", "n")
    page.choose("#live-value", "100k")
    assert needed(page)["n"] < 100e3
    for figure, charts in (("overview", 1), ("frontier", 2), ("loss_curves", 1)):
        page.place(f"#figure-{figure}")
        hollow = f"[...document.querySelectorAll('#figure-{figure} .need path')]"
        page.until(f"{hollow}.length === {charts}")
        assert page.run(f"{hollow}.map(e => e.getAttribute('opacity'))") == ["1"] * charts
        inside = (
            f"{hollow}.every(e => {{const b = e.getBoundingClientRect(), c = e.closest('svg')"
            ".getBoundingClientRect(); return b.left > c.left && b.right < c.right && b.top > c.top})"
        )
        assert page.run(inside), figure
    page.choose("#live-inference", "")
    assert page.run("document.querySelector('#live-need').hidden")


def test_more_inference_than_was_computed_is_said(page: Page) -> None:
    page.choose("#live-inference", "1000T")
    assert page.text("#live-no-need").startswith("so many that no run")
    assert page.run("document.querySelector('#live-need').hidden")


def test_sizes_are_said_under_every_count(page: Page, data: dict[str, Any]) -> None:
    before = answer(page)
    assert data["counts"] == ["body and head", "all", "body"]
    page.choose("#live-count", "1")
    found, sizes = answer(page), data["sizes"]
    wanted = np.exp(np.interp(np.log(number(before["n"])), np.log(sizes[0]), np.log(sizes[1])))
    assert number(found["n"]) == pytest.approx(wanted, rel=0.01)
    assert number(found["n"]) > number(before["n"])
    assert found["d"] == before["d"]
    assert number(found["ratio"]) == pytest.approx(number(found["d"]) / number(found["n"]), rel=0.01)
    assert page.text(".live-count") == "all"
    titles = "document.querySelector('#figure-{} .live-chart svg')?.textContent"
    for figure, words in (("frontier", "best size N*, all"), ("residuals", "all parameters N")):
        page.place(f"#figure-{figure}")
        page.until(f"{titles.format(figure)}?.includes('{words}')")
    page.choose("#live-given", "n")
    page.choose("#live-value", "150k")
    assert answer(page)["n"] == "150k"
    page.choose("#live-count", "0")
    under = np.exp(np.interp(np.log(150e3), np.log(sizes[1]), np.log(sizes[0])))
    assert number(answer(page)["n"]) == pytest.approx(under, rel=0.01)


def test_address_holds_speed_price_demand_and_count(page: Page, chromium: Browser, file: Path) -> None:
    for name, value in (("speed", "1e10"), ("price", "2.5"), ("inference", "100M"), ("count", "2")):
        page.choose(f"#live-{name}", value)
    page.choose("#live-given", "cost")
    page.choose("#live-value", "2")
    wanted = answer(page), needed(page)
    other = chromium.open(file, page.run("location.hash"))
    other.until(DRAWN)
    assert (answer(other), needed(other)) == wanted
    assert other.run("document.querySelector('#live-given').value") == "cost"
    other.close()
    spoiled = chromium.open(file, "#price=-1&speed=x&inference=NaN&cost=5&count=miles")
    spoiled.until(DRAWN)
    assert spoiled.run("document.querySelector('#live-given').value") == "c"
    assert spoiled.complaints() == []
    spoiled.close()
