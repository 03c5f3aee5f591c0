"""Published sets: the refits come out as printed; files are checked, fetched, or missed in one sentence."""

from __future__ import annotations

import fnmatch
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
import pytest

from analysis.published import refits
from analysis.published.__main__ import main
from analysis.published.dataset import DataSet
from analysis.published.fetch import PreparedTableMissing, cache_folder, data_file
from analysis.published.papers.comparison import Comparison
from analysis.published.refits import REFITS, Outcome, refit_set
from analysis.published.registry import SETS, find_set
from harness.records.errors import InputError
from tests import PUBLISHED, ROOT

EPOCH, PORIAN, GADRE = "epoch_chinchilla", "porian2024_refinedweb", "gadre2024"
CONFIGS = {
    "rw-base-long-kaplan-kaplan-train": (0.8353, 0.8235, 0.846),
    "rw-base-long-kaplan-standard-val": (0.7065, 0.6915, 0.7169),
    "rw-base-short-kaplan-standard-val": (0.602, 0.5914, 0.6173),
    "rw-base-short-chinchilla-standard-val": (0.5715, 0.5598, 0.5885),
    "rw-tuned-short-const-standard-val": (0.4969, 0.4907, 0.5045),
    "rw-tuned-long-const-kaplan-train": (0.7115, 0.7026, 0.7214),
}
needs_data = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason=f"no published data at {PUBLISHED}: set SCALING_DATA_DIR"
)


@pytest.fixture(scope="module")
def outcomes() -> Iterator[dict[str, Outcome]]:
    """Every set refitted once, with 1,000 bootstrap refits."""
    if not PUBLISHED.is_dir():
        pytest.skip(f"no published data at {PUBLISHED}: set SCALING_DATA_DIR")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALING_DATA_DIR", str(PUBLISHED))
        yield {each.name: refit_set(each, 1000, 0, required=True) for each in SETS}


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data folder, an empty cache, and no network; returns the cache."""

    def unreachable(*_: object, **__: object) -> str:
        raise ConnectionError("no network")

    monkeypatch.delenv("SCALING_DATA_DIR", raising=False)
    monkeypatch.setenv("SCALING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pooch, "retrieve", unreachable)
    return cache_folder()


def obtained(outcome: Outcome) -> dict[str, float]:
    return {row.quantity: row.obtained for row in outcome.comparisons}


def test_chinchilla_by_huber(outcomes: dict[str, Outcome]) -> None:
    found = obtained(outcomes[EPOCH])
    assert found["huber alpha"] == pytest.approx(0.34731, abs=1e-3)
    assert found["huber beta"] == pytest.approx(0.36718, abs=1e-3)
    assert found["huber E"] == pytest.approx(1.81724, abs=1e-3)
    assert found["huber objective"] <= 1.0183e-3
    assert found["huber a"] == pytest.approx(0.513, abs=2e-3)


def test_chinchilla_by_least_absolute_deviations(outcomes: dict[str, Outcome]) -> None:
    found = obtained(outcomes[EPOCH])
    assert found["lad alpha"] == pytest.approx(0.3478, abs=1e-3)
    assert found["lad beta"] == pytest.approx(0.3658, abs=1e-3)
    assert found["lad E"] == pytest.approx(1.8169, abs=1e-3)
    assert found["lad log-likelihood"] == pytest.approx(879.77, abs=0.05)


@pytest.mark.parametrize(
    ("name", "error"), [("alpha", 0.0154), ("beta", 0.0206), ("E", 0.0257), ("a", 0.020)]
)
def test_chinchilla_standard_errors(name: str, error: float, outcomes: dict[str, Outcome]) -> None:
    assert obtained(outcomes[EPOCH])[f"se {name}"] == pytest.approx(error, rel=0.15)


def test_a_mean_of_hubers_loss_does_not_stop_at_hoffmanns_constants(outcomes: dict[str, Outcome]) -> None:
    rows = {row.quantity: row for row in outcomes[EPOCH].comparisons}
    for name, printed in (("E", 1.69), ("alpha", 0.34), ("beta", 0.28)):
        mean, total = rows[f"mean instead of sum, {name}"].obtained, rows[f"huber {name}"].obtained
        assert mean == pytest.approx(total, abs=1e-6)
        assert abs(mean - printed) > 5e-3
    against = rows["huber objective, not above Hoffmann's constants"]
    assert against.published is not None
    assert against.obtained < 0.9 * against.published


def test_all_points_are_fitted_too(outcomes: dict[str, Outcome]) -> None:
    """The five highest losses, from the shortest runs, pull beta up."""
    found = obtained(outcomes[EPOCH])
    assert found["huber beta, all 245 points"] - found["huber beta"] > 0.05


@pytest.mark.parametrize("config", CONFIGS)
def test_porian(config: str, outcomes: dict[str, Outcome]) -> None:
    found, (a, low, high) = obtained(outcomes[PORIAN]), CONFIGS[config]
    assert found[f"{config} a, Akima"] == pytest.approx(a, abs=0.005)
    assert found[f"{config} a, parabolas"] == pytest.approx(a, abs=0.03)
    assert found[f"{config} low end"] == pytest.approx(low, abs=0.01)
    assert found[f"{config} high end"] == pytest.approx(high, abs=0.01)


@pytest.mark.parametrize(
    ("corpus", "eta", "error_law"),
    [
        ("c4_original", 0.121, (0.850, 2.08, 0.756)),
        ("rpj", 0.136, (0.857, 2.21, 0.715)),
        ("rw_original", 0.127, (0.865, 2.21, 0.707)),
    ],
)
def test_gadre(corpus: str, eta: float, error_law: tuple[float, ...], outcomes: dict[str, Outcome]) -> None:
    found = obtained(outcomes[GADRE])
    assert found[f"{corpus} eta"] == pytest.approx(eta, abs=1e-3)
    constants = [found[f"{corpus} {name}"] for name in ("epsilon", "k", "gamma")]
    assert constants == pytest.approx(error_law, abs=5e-3)


def test_gadre_forecasts(outcomes: dict[str, Outcome]) -> None:
    found = obtained(outcomes[GADRE])
    assert found["rpj open_lm_1b at M=640, error in %"] == pytest.approx(0.7103, abs=0.02)
    assert found["rpj open_lm_7b at M=20, error in %"] == pytest.approx(0.7320, abs=0.02)


@pytest.mark.parametrize(
    ("name", "quantity", "value", "within"),
    [
        ("nanochat_isoflop", "optima, kaplan_style", 0.524, 0.005),
        ("nanochat_isoflop", "optima, chinchilla_style", 0.366, 0.005),
        ("nanochat_isoflop", "optima, transformer_only", 0.681, 0.005),
        ("cerebras_gpt", "kappa", 0.0737, 0.002),
        ("gemstones", "hull, all checkpoints", 0.503, 0.02),
        ("gemstones", "hull, from 100B tokens on", 0.791, 0.02),
        ("pearce2024", "a, Besiroglu's constants", 0.788, 0.003),
        ("pearce2024", "a, Hoffmann's constants", 0.751, 0.003),
    ],
)
def test_exponents(
    name: str, quantity: str, value: float, within: float, outcomes: dict[str, Outcome]
) -> None:
    assert obtained(outcomes[name])[quantity] == pytest.approx(value, abs=within)


@pytest.mark.parametrize(
    ("size", "mae", "rmse", "worst"),
    [
        (25, 0.00376, 0.00465, 0.00409),
        (100, 0.00435, 0.00592, 0.00583),
        (400, 0.00484, 0.0073, 0.00995),
    ],
)
def test_multi_power_on_unseen_schedules(
    size: int, mae: float, rmse: float, worst: float, outcomes: dict[str, Outcome]
) -> None:
    found = obtained(outcomes["mpl_curves"])
    assert found[f"{size}M MAE"] == pytest.approx(mae, abs=2e-5)
    assert found[f"{size}M RMSE"] == pytest.approx(rmse, abs=3e-5)
    assert found[f"{size}M worst relative error"] == pytest.approx(worst, abs=1e-4)


def test_one_stretched_kernel_for_all_sizes_is_nearer(outcomes: dict[str, Outcome]) -> None:
    """By 8 % in RMSE and 27 % in the worst error than the printed fits, with two thirds of the parameters."""
    rows = {row.quantity: row for row in outcomes["mpl_curves"].comparisons}
    for metric, share in (("RMSE", 0.93), ("worst relative error", 0.75)):
        row = rows[f"mean, {metric}, stretched"]
        assert row.published is not None
        assert row.obtained < share * row.published


def test_every_verdict_is_ok_and_every_printed_number_is_compared(outcomes: dict[str, Outcome]) -> None:
    assert [row.quantity for each in outcomes.values() for row in each.comparisons if row.ok is False] == []
    for name in REFITS:
        shown = {row.published for row in outcomes[name].comparisons}
        assert set(find_set(name).published.values()) <= shown, name
    assert set(REFITS) == {each.name for each in SETS}


@needs_data
@pytest.mark.parametrize("dataset", [each for each in SETS if each.files], ids=lambda each: each.name)
def test_the_registry_describes_the_files(dataset: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes hold, every column of the tables is described, and no description is idle."""
    monkeypatch.setenv("SCALING_DATA_DIR", str(PUBLISHED))
    tables = [pd.read_csv(data_file(dataset, file)) for file in dataset.files]
    columns = set(tables[0])
    if dataset.name == "obsscaling_emergent":  # Two tables of models; elsewhere the second is a key.
        columns |= set(tables[1])
    found = {
        column: next((p for p in dataset.columns if fnmatch.fnmatch(column, p)), None) for column in columns
    }
    assert [column for column, pattern in found.items() if pattern is None] == []
    assert set(found.values()) == set(dataset.columns)


def test_names_are_unique_and_prepared_tables_have_no_url() -> None:
    assert len({each.name for each in SETS}) == len(SETS)
    for each in SETS:
        assert all(bool(file.urls) == (each.prepared is None) for file in each.files)


@needs_data
def test_other_bytes_are_refused(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "nanochat_isoflop" / "optima.csv"
    table.parent.mkdir()
    table.write_bytes((PUBLISHED / "nanochat_isoflop" / "optima.csv").read_bytes() + b"\n")
    monkeypatch.setenv("SCALING_DATA_DIR", str(tmp_path))
    assert main(["nanochat_isoflop"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "expected SHA-256 d1282185dbb6" in error
    assert not nowhere.exists()


def test_a_missing_prepared_table(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Skipped with the reason in a run over all sets, an error where it was asked for by name."""
    outcome = refit_set(find_set(GADRE), 100, 0, required=False)
    assert (outcome.note or "").startswith("skipped: gadre2024 is a prepared table")
    assert outcome.compared == 0
    assert main([GADRE]) == 2
    assert f"holds {GADRE}/runs.csv" in capsys.readouterr().err
    assert not nowhere.exists()


@pytest.mark.usefixtures("nowhere")
def test_no_file_no_cache_no_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        "error: svg_extracted_data.csv of the set epoch_chinchilla could not be downloaded"
    )
    assert "set SCALING_DATA_DIR to a folder that holds epoch_chinchilla/svg_extracted_data.csv" in error
    assert error.count("\n") == 1


@needs_data
def test_a_download_is_pinned_by_its_hash_and_kept(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = find_set(EPOCH)
    (file,) = dataset.files
    asked = []

    def retrieve(url: str, known_hash: str, fname: str, path: Path) -> str:
        asked.append(url)
        assert known_hash == f"sha256:{file.sha256}"
        if len(asked) == 1:
            raise ValueError("other bytes")
        path.mkdir(parents=True)
        shutil.copy(PUBLISHED / EPOCH / fname, path / fname)
        return str(path / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert data_file(dataset, file) == nowhere / EPOCH / file.name
    assert data_file(dataset, file) == nowhere / EPOCH / file.name
    assert asked == list(file.urls)


def test_a_folder_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCALING_DATA_DIR", str(tmp_path / "none"))
    with pytest.raises(InputError, match="which is no folder"):
        data_file(find_set(EPOCH), find_set(EPOCH).files[0])
    assert issubclass(PreparedTableMissing, InputError)


def test_an_unknown_name_suggests_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gadre"]) == 2
    assert "there is no published set called 'gadre' (did you mean gadre2024?)" in capsys.readouterr().err
    assert main(["--resamples", "5"]) == 2
    assert "expected a whole number from 100 to" in capsys.readouterr().err


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "published.json"
    assert main(["pearce2024", "--json", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "2 of 2 compared numbers are inside their tolerance" in printed
    (pearce,) = json.loads(out.read_text())["sets"]
    assert ([row["ok"] for row in pearce["comparisons"]], pearce["note"]) == ([True, True], None)
    monkeypatch.setitem(refits.REFITS, "pearce2024", lambda *_: [Comparison("a", 0.788, 0.7, 0.003)])
    assert main(["pearce2024"]) == 1
    assert "OFF" in capsys.readouterr().out
    assert main(["pearce2024", "--json", str(tmp_path)]) == 2


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (Comparison("within", 1.0, 1.1, 0.2), True),
        (Comparison("within", 1.0, 1.3, 0.2), False),
        (Comparison("share", -10.0, -11.0, 0.15, "relative"), True),
        (Comparison("share", 10.0, 12.0, 0.15, "relative"), False),
        (Comparison("bound", 1.0, 0.2, rule="at most"), True),
        (Comparison("bound", 1.0, 1.2, rule="at most"), False),
        (Comparison("not a number", 1.0, np.nan, 0.2), False),
        (Comparison("for information", 1.0, 5.0, rule="information"), None),
        (Comparison("nothing printed", None, 5.0), None),
    ],
)
def test_verdicts(row: Comparison, verdict: bool | None) -> None:
    assert row.ok is verdict


def test_pooch_is_loaded_for_a_download_only() -> None:
    code = "import sys, analysis.published.__main__\nprint('pooch' in sys.modules, 'requests' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
