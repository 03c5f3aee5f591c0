"""The report of a table of other people's runs: same page, without what only a sweep records."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from analysis.fit import main
from analysis.report.__main__ import main as report_main
from tests.analysis.prediction.test_predictor import runs

pytestmark = pytest.mark.usefixtures("few_starts")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("foreign")
    found = runs(0.003)
    frame = pd.DataFrame({"N": found.n, "D": found.d, "loss": found.loss})
    frame.loc[4, "loss"] = float("nan")
    frame.to_csv(folder / "theirs.csv", index=False)
    out = folder / "theirs.html"
    asked = ["--predict", "C=1e21", "--predict", "N=1B,D=20B", "--resamples", "60", "--report", str(out)]
    assert main([str(folder / "theirs.csv"), *asked]) == 0
    return out.read_text()


def test_page_has_figures_and_answers(page: str) -> None:
    for section in ("numbers", "exponents", "predictions", "frontier", "adequacy", "figures", "points"):
        assert f'id="{section}"' in page
    for figure in ("overview", "contours", "frontier", "residuals", "rollout", "cloud", "profile"):
        assert f'<figure id="figure-{figure}"' in page
    answers = page[page.index('id="predictions"') : page.index('id="frontier"')]
    assert "C = 10²¹" in answers
    assert "N = 1B, D = 20B" in answers
    assert "row 4: " in page


def test_page_leaves_out_what_only_a_sweep_records(page: str) -> None:
    for section in ("forecast", "reference", "corpus"):
        assert f'id="{section}"' not in page
        assert f'href="#{section}"' not in page
    assert "points.parquet" not in page
    assert "C = 6·N·D" in page[page.index('id="provenance"') :]


def test_every_link_of_the_page_leads_somewhere(page: str) -> None:
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets <= set(re.findall(r'id="([^"]+)"', page))


def test_report_of_a_file_says_which_command_makes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("N,D,loss\n1,2,3\n")
    assert report_main([str(path)]) == 2
    assert f"python -m analysis.fit {path} --report" in capsys.readouterr().err
