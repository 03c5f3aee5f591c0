"""The key numbers of README come from the committed sweeps by the committed command."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import NormalDist

import pytest

from analysis.laws import family
from analysis.summary import key_numbers, main, markdown
from harness.records.errors import InputError
from harness.records.number_text import estimate
from harness.records.paths import SweepFolder
from tests import ROOT
from tests.fakes.sweep import make_sweep

COMMITTED = ["results/chinchilla", "results/chinchilla-standard"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> SweepFolder:
    root = tmp_path_factory.mktemp("sweep")
    make_sweep(root)
    return SweepFolder(root)


def test_every_number_of_the_summary_is_in_its_files(folder):
    rows = key_numbers(folder)
    assert rows["likeliest law, N"].startswith("joint")
    assert "[" in rows["alpha"]
    assert "held out" in rows["end points"]
    assert "% RMS" in rows["forecast of chinchilla alone"]
    references = json.loads(folder.fits.read_text())["reference"]
    assert rows["trunk + branch minus tuned cosine, nats"].count("[") == len(references) > 0
    assert rows["a under 6ND, leaving one size out at a time"] == "0.500 to 0.540 (joint)"


def test_weights_are_told_apart_by_the_runs_behind_them():
    """E and a rest on all runs, the sealed forecast on the fitted ones."""
    folder = SweepFolder(ROOT / COMMITTED[0])
    rows, fits = key_numbers(folder), json.loads(folder.fits.read_text())
    (e,) = (each for each in fits["averages"] if each["quantity"] == "E")
    for label, laws in [("laws by weight", e["laws"]), ("laws by weight for the forecast", fits["contest"])]:
        heaviest = max(laws, key=lambda each: each["weight"])
        assert rows[label].startswith(f"{family(heaviest['law'])} {heaviest['weight']:.2f}")
    assert rows["laws by weight"] != rows["laws by weight for the forecast"]


def test_rows_of_a_second_sweep_stand_at_their_place():
    labels = [
        row.split(" | ")[0] for row in markdown([SweepFolder(ROOT / name) for name in COMMITTED]).splitlines()
    ]
    alone = [place for place, label in enumerate(labels) if label.endswith(" alone")]
    assert alone == list(range(alone[0], alone[0] + 6))


def test_one_convention_of_uncertainty(folder):
    """Brackets are intervals of one level; nothing stands beside them as one standard error."""
    text = markdown([folder])
    assert "±" not in text
    row = json.loads(folder.fits.read_text())["reference"][0]
    z = NormalDist().inv_cdf(0.95)
    low, high = (row["difference"] + sign * z * row["se"] for sign in (-1, 1))
    assert estimate(row["difference"], (low, high)) in text


def test_a_missing_file_is_named(tmp_path, capsys):
    with pytest.raises(InputError, match=r"fits\.json"):
        key_numbers(SweepFolder(tmp_path))
    assert main([str(tmp_path)]) == 2
    assert "error:" in capsys.readouterr().err


def test_readme_quotes_the_committed_sweeps(monkeypatch):
    monkeypatch.chdir(ROOT)
    present = [SweepFolder(Path(name)) for name in COMMITTED if Path(name, "fits.json").exists()]
    if not present:
        pytest.skip("no committed sweep under results/")
    text = Path("README.md").read_text()
    quoted = text.split("<!-- summary: begin -->")[1].split("<!-- summary: end -->")[0].strip()
    assert quoted == markdown(present)
