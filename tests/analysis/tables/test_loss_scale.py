"""A loss in another scale is converted if somebody says so, and doubted if nobody does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.contest.recommended import counted_tables
from analysis.fit import main
from analysis.records.warning_codes import WarningCode
from analysis.tables.frames import read_frame
from analysis.tables.loss_scale import read_loss_scale
from analysis.tables.table import load_table
from harness.records.errors import InputError
from tests import PUBLISHED, ROOT
from tests.analysis.published.test_published import needs_data

CLEAN = pd.read_csv(ROOT / "tests/stored/tables/clean.csv")
BYTES = 4.2
STORED_AS = {
    "nats": lambda loss: loss,
    "perplexity": np.exp,
    f"bits_per_byte={BYTES}": lambda loss: loss / np.log(2) / BYTES,
    "bits_per_token": lambda loss: loss / np.log(2),
}


@pytest.mark.parametrize("scale", STORED_AS)
def test_a_stated_scale_becomes_nats_per_token(scale: str) -> None:
    stored = STORED_AS[scale](CLEAN["loss"])
    step = 1e-6  # an error so small that its image is the slope
    error = (STORED_AS[scale](CLEAN["loss"] + step) - stored).to_numpy()
    table = load_table(CLEAN.assign(loss=stored, sem=error), mapping={"sem": "sem"}, loss_is=scale)
    np.testing.assert_allclose(table.loss, CLEAN["loss"])
    np.testing.assert_allclose(table.loss_sem, step, rtol=1e-3)
    assert table.warnings == ()
    (counted,) = counted_tables(CLEAN.assign(loss=stored), loss_is=scale).values()
    np.testing.assert_allclose(counted.loss, CLEAN["loss"])


@pytest.mark.parametrize(("scale", "name"), [("perplexity", "val_ppl"), (f"bits_per_byte={BYTES}", "bpb")])
def test_the_command_fits_the_same_law_and_says_what_it_read(
    scale: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "runs.csv", tmp_path / "fit.json"
    CLEAN.assign(loss=STORED_AS[scale](CLEAN["loss"])).rename(columns={"loss": name}).to_csv(
        path, index=False
    )
    arguments = [str(path), "--map", f"loss={name}", "--loss-is", scale, "--resamples", "0"]
    assert main([*arguments, "--json", str(out)]) == 0
    params = json.loads(out.read_text())["params"]
    assert params["alpha"] == pytest.approx(0.344043, rel=1e-4)
    assert params["E"] == pytest.approx(1.720175, rel=1e-4)
    said = capsys.readouterr().out
    reading = {
        "perplexity": "loss = log of 'val_ppl'",
        f"bits_per_byte={BYTES}": "loss = 'bpb' × 2.911 (bits per byte, 4.2 bytes a token)",
    }
    assert reading[scale] in said
    assert "loss_scale" not in said


def test_a_mapped_perplexity_takes_its_standard_error_along() -> None:
    frame = CLEAN.assign(ppl=np.exp(CLEAN["loss"]), sem=0.01 * np.exp(CLEAN["loss"]))
    table = load_table(frame, mapping={"perplexity": "ppl", "sem": "sem"})
    np.testing.assert_allclose(table.loss_sem, 0.01)


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        ("bits_per_byte", "the mean bytes of a token, got none: type bits_per_byte=4.2"),
        ("bits_per_byte=four", "got 'four'"),
        ("bits_per_byte=-1", "got '-1'"),
        ("ppl", "there is no scale 'ppl' of the loss: type one of nats, perplexity, bits_per_byte=BYTES"),
        ("nats=2", "there is no scale 'nats=2'"),
    ],
)
def test_a_scale_that_is_none_is_one_sentence(
    scale: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=words):
        read_loss_scale(scale)
    path = tmp_path / "runs.csv"
    CLEAN.to_csv(path, index=False)
    assert main([str(path), "--loss-is", scale]) == 2
    assert capsys.readouterr().err.strip().endswith("(--loss-is)")


def test_a_mapped_perplexity_needs_no_scale() -> None:
    frame = CLEAN.assign(ppl=np.exp(CLEAN["loss"]))
    with pytest.raises(InputError, match="whose scale is known"):
        load_table(frame, mapping={"perplexity": "ppl"}, loss_is="perplexity")


def doubts(frame: pd.DataFrame, axes: str = "nd", loss_is: str | None = None) -> list[str]:
    found = load_table(frame, axes=axes, loss_is=loss_is).warnings
    return [each.message for each in found if each.code is WarningCode.LOSS_SCALE]


def accuracy(loss: pd.Series) -> pd.Series:
    return 1.2 - loss / 5


LINE = pd.DataFrame({"N": np.geomspace(1e6, 1e9, 7)}).assign(loss=lambda runs: 1.7 + 400 * runs.N**-0.34)
WRONG = {
    "perplexities above any vocabulary": (CLEAN.assign(loss=np.exp(CLEAN.loss)), "nd", "any vocabulary"),
    "perplexities of good models": (
        CLEAN.assign(loss=np.exp(1.8 + 0.1 * CLEAN.loss)),
        "nd",
        "may be perplex",
    ),
    "accuracies": (CLEAN.assign(loss=accuracy(CLEAN.loss)), "nd", "losses rise with compute"),
    "per cent": (CLEAN.assign(loss=100 * accuracy(CLEAN.loss)), "nd", "losses rise with compute"),
    "accuracies of sizes": (LINE.assign(loss=accuracy(LINE.loss)), "n", "losses rise with size"),
    "accuracies of tokens": (
        LINE.assign(loss=accuracy(LINE.loss)).rename(columns={"N": "D"}),
        "d",
        "losses rise with tokens",
    ),
    "error rates": (CLEAN.assign(loss=1 - accuracy(CLEAN.loss)), "nd", "no loss lies above"),
}


@pytest.mark.parametrize("case", WRONG)
def test_another_quantity_is_doubted(case: str) -> None:
    frame, axes, words = WRONG[case]
    found = doubts(frame, axes)
    assert any(words in text for text in found), found
    assert any("loss_is: nats, perplexity" in text or "score" in text for text in found)


@pytest.mark.parametrize("axes", ["nd", "n"])
def test_losses_are_not_doubted(axes: str) -> None:
    assert doubts(CLEAN if axes == "nd" else LINE, axes) == []


def test_who_states_nats_is_believed_unless_they_rise() -> None:
    """Models of bytes end below 1 nat per token; a score that rises is no loss whatever somebody says."""
    small = CLEAN.assign(loss=CLEAN.loss / 5)
    assert doubts(small, loss_is="nats") == []
    assert len(doubts(small)) == 1
    assert len(doubts(CLEAN.assign(loss=accuracy(CLEAN.loss)), loss_is="nats")) == 1


def test_a_wrong_statement_is_doubted() -> None:
    """Nats that somebody calls bits per byte lie above what any vocabulary explains."""
    assert "any vocabulary" in doubts(CLEAN.assign(loss=CLEAN.loss * 2), loss_is="bits_per_byte=4")[0]


@pytest.mark.parametrize("missing", ["N", "D"])
def test_compute_gives_the_axis_that_is_missing(missing: str) -> None:
    frame = CLEAN.assign(flops=6.0 * CLEAN["N"] * CLEAN["D"])
    table = load_table(frame.drop(columns=missing))
    np.testing.assert_allclose(table.n, CLEAN["N"])
    np.testing.assert_allclose(table.d, CLEAN["D"])
    other = "D" if missing == "N" else "N"
    assert f"{missing} = C/(6·{other})" in str(table.read_as)
    assert table.absent == ""


def test_units_of_tokens_and_compute_are_checked_without_sizes() -> None:
    frame = CLEAN.assign(flops=6.0 * CLEAN["N"] * CLEAN["D"], D=CLEAN["D"] / 1e9).drop(columns="N")
    with pytest.raises(InputError, match="D=1e9"):
        load_table(frame)
    table = load_table(frame, scale={"D": 1e9})
    np.testing.assert_allclose(table.n, CLEAN["N"])


def levels(frame: pd.DataFrame, mapping: dict[str, str] | None = None, **options: Any) -> list[str]:
    found = load_table(frame, mapping=mapping, **options).warnings
    assert WarningCode.LOSS_SCALE not in {each.code for each in found}
    return [each.message for each in found if each.code is WarningCode.LOSS_LEVEL]


WEB = CLEAN.assign(loss=1.1 * CLEAN["loss"])  # held-out text, 10 % above the law of Hoffmann et al.
UNUSUAL = {
    "bits per byte": (CLEAN["loss"] / np.log(2) / BYTES, None, "bits per byte"),
    "bits per token": (WEB["loss"] / np.log(2), None, "bits per token"),
    "nats called perplexity": (CLEAN["loss"], "perplexity", "logarithms of nats"),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_an_unusual_level_is_noted_unless_its_scale_is_stated(case: str) -> None:
    loss, stated, words = UNUSUAL[case]
    (text,) = levels(CLEAN.assign(loss=loss), loss_is=stated)
    assert words in text
    assert "state its scale, even if it is nats (loss_is: nats, perplexity" in text
    assert levels(CLEAN.assign(loss=loss), loss_is="nats") == []
    assert levels(WEB) == []
    # Small vocabularies decide on the loss of small models.
    small = {name: CLEAN[name] / 1e3 for name in "ND"}
    assert levels(CLEAN.assign(loss=loss, **small), loss_is=stated) == []


KNOWN = {
    "epoch_chinchilla/svg_extracted_data.csv": {"N": "Model Size", "C": "Training FLOP"},
    "porian2024_refinedweb/isoflops.csv": {"N": "n", "D": "t", "C": "flops"},
    "cerebras_gpt/cerebras_gpt.csv": {"N": "params", "D": "tokens", "C": "", "loss": "pile_test_xent_paper"},
    "gemstones/gemstones_evals.csv": {"N": "N_active", "D": "tokens", "loss": "dclm_loss"},
    "datablations_rows/datablations_code_losses.csv": {"N": "num_params", "D": "token_num", "C": ""},
    "datablations_rows/datablations_contour_losses.csv": {
        "N": "num_params", "D": "token_num", "loss": "openLM_loss",
    },
    "gadre2024/runs.csv": {"N": "N", "D": "D", "loss": "loss_openlm"},
    "gadre2024/runs.csv once more": {"N": "N", "D": "D", "loss": "loss_paloma_ptb"},
}  # fmt: skip


@needs_data
@pytest.mark.parametrize("name", KNOWN)
def test_losses_of_others_are_not_noted(name: str) -> None:
    frame = read_frame(PUBLISHED / name.split(" ")[0])
    assert levels(frame, KNOWN[name]) == []
