"""All approaches side by side: the rule's law recommended, disagreements and what is lacking named."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.contest.over_laws import over_laws
from analysis.contest.recommended import (
    Comparison,
    compare_approaches,
    contest_of,
    counted_tables,
    disagreements,
)
from analysis.contest.rollout import MAX_CUTS, cuts
from analysis.contest.text import comparison_text
from analysis.fit import main
from analysis.laws import family
from analysis.records.fit import COUNTS
from analysis.records.warning_codes import WarningCode
from analysis.result import Fit, Frontier
from analysis.tables.table import LossTable, load_table
from analysis.uncertainty.table_warnings import table_warnings
from harness.records.errors import InputError
from harness.records.json_files import to_json
from tests import PUBLISHED
from tests.analysis.published.test_published import needs_data
from tests.analysis.test_fit import KEYS
from tests.fakes.surfaces import SMALL_JOINT, sweep_points
from tests.fakes.tables import LIMITS, additive, joint, ladder, saturates

pytestmark = pytest.mark.usefixtures("few_starts")


@pytest.fixture(scope="module")
def own() -> Comparison:
    """Our own kind of table, whose truth is a joint law."""
    tables = counted_tables(sweep_points(SMALL_JOINT), mapping={}, count="n_params_matmul")
    return compare_approaches(tables, resamples=40, level=0.9)


def test_the_rule_s_law_under_the_first_count_is_recommended(own: Comparison) -> None:
    assert own.recommended == 0
    quoted = own.fits[0]
    assert (quoted.approach, family(quoted.law), quoted.count) == ("parametric", "joint", "n_params_matmul")
    assert "joint is the likeliest law of the 25 rows that are not held out" in own.reason
    assert "n_params_matmul is the first way of counting N" in own.reason
    assert own.reason.endswith("its E alone is not to be quoted, see e_not_bracketed")


def test_every_approach_stands_under_every_count(own: Comparison) -> None:
    found = {(fit.approach, fit.count) for fit in own.fits}
    assert found >= {(a, count) for a in ("parametric", "isoflop", "envelope") for count in COUNTS}
    laws = {family(fit.law) for fit in own.fits if fit.approach == "parametric" and fit.count == COUNTS[0]}
    assert laws >= {"chinchilla", "quadrature", "joint", "bounded"}


def test_entries_have_the_documented_keys(own: Comparison) -> None:
    entries = json.loads(json.dumps(to_json(own.to_records()), allow_nan=False))
    assert [entry["recommended"] for entry in entries] == [True] + [False] * (len(entries) - 1)
    assert [i for i, entry in enumerate(entries) if "reason" in entry] == [0]
    assert entries[0]["reason"] == own.reason
    assert entries[0]["not_possible"] == list(own.not_possible)
    with_error = [entry for entry in entries if "rollout_rms" in entry]
    assert {entry["count"] for entry in with_error} == {"n_params_matmul"}
    assert all(0 < entry["rollout_rms"] < 0.2 for entry in with_error)


def test_text_holds_every_row_once_and_every_warning_once(own: Comparison) -> None:
    text = comparison_text(own)
    rows = [
        line for line in text.splitlines() if line[:1].isdigit() and line.split()[0].strip("*!").isdigit()
    ]
    numbered = [line for line in rows if line.split()[0].strip("*!") in map(str, range(1, len(own.fits) + 1))]
    assert sum(line.startswith(("1* ", "1*! ")) for line in numbered) == 1
    assert "a [90 %]" in text
    marked = {line.split()[0].strip("*!") for line in numbered if "!" in line.split()[0]}
    blocked = {
        i for i, fit in enumerate(own.fits, 1) if any(w.severity == "blocks the quote" for w in fit.warnings)
    }
    assert marked == set(map(str, blocked))
    assert 0 < len(blocked) < len(own.fits)
    assert "!: not to be quoted" in text
    for warning in {warning for fit in own.fits for warning in fit.warnings}:
        assert text.count(warning.message) == 1


def test_what_is_not_possible_does_not_stop_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens proportional to size: no IsoFLOP, nothing to recommend, but laws of compute are there."""
    monkeypatch.setattr("analysis.contest.recommended.candidates", lambda _: ("chinchilla",))
    n = np.geomspace(1e7, 1e9, 8)
    frame = pd.DataFrame({"N": n, "D": 20 * n, "loss": 1.7 + 400 * n**-0.34 + 400 * (20 * n) ** -0.28})
    found = compare_approaches(counted_tables(frame, mapping={}, count="N"), resamples=0)
    assert found.recommended is None
    assert "D follows N" in found.reason
    assert any(text.startswith("IsoFLOP") and "is not possible" in text for text in found.not_possible)
    assert "kaplan_c" in {fit.law for fit in found.fits}
    assert found.to_records()[0].compared.not_possible == found.not_possible
    text = comparison_text(found)
    assert "no row is recommended" in text
    assert [sentence for sentence in found.not_possible if sentence not in text] == []


def quoted(a: float, interval: tuple[float, float] | None, **names: Any) -> Fit:
    """A fit of which only the exponent matters."""
    fields = {"law": "joint", "approach": "parametric", "estimator": "", "count": "N"} | names
    fit = Fit(**fields, nobs=9, n_clusters=9, estimates={}, level=0.9)
    return replace(fit, frontier=Frontier(a=a, a_interval=interval))


@pytest.mark.parametrize(
    ("other", "codes"),
    [
        (quoted(0.60, (0.57, 0.63), approach="isoflop"), [WarningCode.APPROACHES_DISAGREE]),
        (quoted(0.60, (0.54, 0.63), approach="isoflop"), []),
        (quoted(0.59, None, approach="envelope"), []),
        (quoted(0.61, None, approach="envelope"), [WarningCode.APPROACHES_DISAGREE]),
        (quoted(0.60, (0.57, 0.63), count="M"), [WarningCode.COUNTS_DISAGREE]),
        (quoted(0.60, (0.57, 0.63), count="M", approach="isoflop", law="power_law"), []),
        (quoted(0.60, (0.57, 0.63), law="chinchilla"), []),
    ],
)
def test_intervals_that_do_not_meet_are_a_warning(other: Fit, codes: list[WarningCode]) -> None:
    found = disagreements([quoted(0.5, (0.45, 0.55)), other], 0)
    assert [warning.code for warning in found] == codes
    assert all("0.500 [0.450, 0.550]" in warning.message for warning in found)
    assert disagreements([quoted(0.5, None), other], 0) == []


def test_exponents_under_the_table_s_flops_are_those_compared() -> None:
    exact = Frontier(a=0.6, a_interval=(0.57, 0.63))
    here = replace(quoted(0.5, (0.45, 0.55)), frontier_exact=exact)
    assert disagreements([here, quoted(0.6, (0.57, 0.63), approach="isoflop")], 0) == []


def dense() -> LossTable:
    rng = np.random.default_rng(0)
    n, d = 10 ** rng.uniform(7, 9, 60), 10 ** rng.uniform(9, 11, 60)
    return load_table(pd.DataFrame({"N": n, "D": d, "loss": 1.7 + 400 * n**-0.34 + 400 * d**-0.28}))


def test_a_contest_on_many_rows_takes_some_of_the_computes_and_says_so() -> None:
    table, laws = dense(), ("chinchilla", "quadrature")
    usable = len(cuts(table, laws))
    assert usable > MAX_CUTS
    found = contest_of(table, laws, "chinchilla", "huber", 0)
    assert found.chosen == "chinchilla"
    assert f"below {MAX_CUTS} of {usable} computes" in found.reason
    assert found.errors["chinchilla"] < 1e-4 < found.errors["quadrature"]


def test_held_out_rows_take_no_part_in_the_contest() -> None:
    table = ladder(joint, np.random.default_rng(0))
    holdout = table.c > np.quantile(table.c, 0.7)
    marked = replace(
        table,
        role=["holdout" if each else "fit" for each in holdout],
        loss=np.where(holdout, 9.0, table.loss),
    )
    laws = ("chinchilla", "joint")
    kept = contest_of(table.select(~holdout), laws, "chinchilla", "huber", 0)
    found = contest_of(marked, laws, "chinchilla", "huber", 0)
    which = f"the {int((~holdout).sum())} rows that are not held out"
    assert found == replace(kept, reason=kept.reason.replace("these rows", which))
    assert which in found.reason
    said = over_laws(marked, laws, 0, 0.9, 0)
    assert said
    assert f"the laws that all {len(table)} rows, the {int(holdout.sum())} held-out ones too, cannot" in said


def test_too_few_cells_leave_the_choice_to_the_weights() -> None:
    table = ladder(additive, np.random.default_rng(0))
    few = table.select(np.isin(table.row, [0, 4, 9, 14, 20, 26]))
    found = contest_of(few, ("chinchilla",), "chinchilla", "huber", 0)
    assert (found.chosen, found.errors) == ("chinchilla", {})
    assert "too few cells to predict some from others" in found.reason


def test_counts_of_a_foreign_table_are_named_by_their_columns() -> None:
    frame = pd.DataFrame({"total": [2e8, 4e8], "body": [1e8, 3e8], "D": [4e9, 8e9], "loss": [3.0, 2.8]})
    tables = counted_tables(frame, mapping={"N": "total | body"}, count="n_params_matmul")
    assert {name: table.count for name, table in tables.items()} == {"total": "total", "body": "body"}
    assert list(tables["body"].n) == [1e8, 3e8]
    assert list(counted_tables(frame, mapping={"N": "body"}, count="n_params_matmul")) == ["N"]


def test_the_asked_count_comes_first() -> None:
    tables = counted_tables(sweep_points(SMALL_JOINT), mapping={}, count="n_params_body")
    assert list(tables) == ["n_params_body", "n_params_matmul", "n_params"]


def test_flops_are_doubted_only_when_no_row_is_near_six_n_d() -> None:
    table = dense()
    assert table_warnings(table) == ()
    assert table_warnings(replace(table, c=table.c * np.linspace(2.9, 9, len(table)))) == ()
    (doubt,) = table_warnings(replace(table, c=table.c / 4))
    assert doubt.code is WarningCode.FLOPS_APART
    assert "C is 0.25 times 6·N·D in every row" in doubt.message


def test_cells_of_several_set_ups_are_doubted() -> None:
    table = dense()
    again = {key: np.concatenate([getattr(table, key)] * 2) for key in ("n", "d", "c", "cluster", "row")}
    for factor, codes in ((1.01, []), (1.05, [WarningCode.MIXED_CELLS])):
        twice = replace(table, **again, loss=np.concatenate([table.loss, factor * table.loss]))
        assert [doubt.code for doubt in table_warnings(twice)] == codes


def test_a_table_that_holds_no_law_is_an_input_error() -> None:
    frame = pd.DataFrame({"N": [1e8, 2e8], "D": [4e9, 8e9], "loss": [3.0, 2.8]})
    with pytest.raises(InputError, match=r"2 rows for the 6 parameters of joint"):
        compare_approaches(counted_tables(frame, mapping={}, count="N"), law="joint")


def test_the_command_prints_one_table_and_writes_a_list(
    own: Comparison, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def fake(tables: Any, law: str, progress: Any, **options: Any) -> Comparison:
        assert callable(progress)
        seen.extend([tables, law, options])
        return own

    monkeypatch.setattr("analysis.fit.compare_approaches", fake)
    points, out = tmp_path / "points.parquet", tmp_path / "all.json"
    sweep_points(SMALL_JOINT).to_parquet(points)
    options = ["--law", "joint", "--estimator", "lsq", "--resamples", "7", "--level", "0.8", "--seed", "3"]
    assert main([str(points), "--approach", "all", "--json", str(out), *options]) == 0
    assert list(seen[0]) == list(COUNTS)
    assert seen[1:] == ["joint", {"estimator": "lsq", "resamples": 7, "level": 0.8, "seed": 3}]
    written = json.loads(out.read_text())
    assert written[own.recommended or 0].pop("table")["path"] == str(points)
    assert written == json.loads(json.dumps(to_json(own.to_records())))
    table, *steps = capsys.readouterr().out.partition("to do about ")
    assert table.strip() == comparison_text(own).strip()
    assert steps[-1].startswith("e_not_bracketed")


SHARED = {
    "epoch_chinchilla/svg_extracted_data.csv": ["N=Model Size,C=Training FLOP", None],
    "porian2024_refinedweb/isoflops.csv": ["N=n,D=t,C=flops", "config=rw-base-long-kaplan-standard-val"],
    "gadre2024/runs.csv": ["N=N|N_no_embed,loss=loss_c4_val", "dataset=c4_original"],
    "cerebras_gpt/cerebras_gpt.csv": ["N=params,D=tokens,C=train_flops,loss=pile_test_xent_paper", None],
    "gemstones/gemstones_evals.csv": ["N=N_active,D=tokens,loss=fineweb_edu_loss,cluster=model", None],
}


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("name", SHARED)
def test_published_tables_are_compared_and_written(name: str, tmp_path: Path) -> None:
    mapping, where = SHARED[name]
    arguments = [str(PUBLISHED / name), "--map", mapping, "--approach", "all", "--resamples", "0"]
    arguments += ["--where", where] if where else []
    assert main([*arguments, "--json", str(tmp_path / "all.json")]) == 0
    written = json.loads((tmp_path / "all.json").read_text())
    assert all(list(entry)[: len(KEYS)] == KEYS for entry in written)
    assert {entry["approach"] for entry in written} >= {"parametric", "envelope", "kaplan"}
    # D follows N in the one, and the other is a training log.
    unquotable = name.startswith(("cerebras_gpt", "gemstones"))
    assert sum(entry["recommended"] for entry in written) == (0 if unquotable else 1)


NINE = pd.DataFrame(
    {
        "N": np.repeat([450_000, 3_200_000, 11_000_000], 3),
        "D": np.tile([250_000, 500_000, 1_000_000], 3),
        "loss": [2.41, 2.335, 2.3, 2.14, 2.05, 1.955, 2.18, 2.06, 1.985],
    }
)


def test_no_row_is_recommended_against_its_own_warnings() -> None:
    found = compare_approaches(NINE, resamples=0)
    assert found.recommended is None
    assert found.fits[0].law == "quadrature"
    for words in (
        "no row is recommended: the rule chooses quadrature, but alpha is at the end of its range",
        "9 cells are few for 5 parameters",
        "the contest could predict 1 cell from cells of less compute",
        "what would change that: 5 sizes N over 30 times (now 3 over 24.4), 4 token counts D over 8 times "
        "(now 3 over 4), 11 cells of N and D (now 9)",
    ):
        assert words in found.reason
    assert "1*" not in comparison_text(found)


def test_laws_that_the_rows_allow_speak_together() -> None:
    """Nine cells tell no law from another: no row is recommended, and E is said to be unknown."""
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 3), np.geomspace(1e9, 1e11, 3)))
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(9))
    frame = pd.DataFrame({"N": n, "D": d, "loss": (1.7 + 400 * n**-0.34 + 400 * d**-0.28) * noise})
    found = compare_approaches(frame, resamples=40)
    assert found.recommended is None
    assert "could predict 1 cell" in found.reason
    assert "the laws that these rows cannot exclude are " in str(found.together)
    assert re.search(r"over them E [^;]*\[[^;]*a [^;]*\[", str(found.together))
    assert "10 times the largest fitted compute" in str(found.together)
    assert "the saturating law did not compete" in str(found.together)
    assert f"together: {found.together}" in comparison_text(found)
    assert to_json(found.to_records())[0]["together"] == found.together


def test_a_law_that_is_excluded_does_not_speak_and_limits_let_saturating_compete() -> None:
    found = compare_approaches(ladder(saturates, np.random.default_rng(0), limits=True), resamples=0)
    assert "chinchilla" not in str(found.together)
    assert "saturating" in str(found.together)
    assert "did not compete" not in str(found.together)


def test_limits_that_are_named_with_the_law_let_it_compete() -> None:
    """A table without columns for U and V, and a law that has both."""
    table = ladder(saturates, np.random.default_rng(0))
    found = compare_approaches(table, "saturating({},{})".format(*LIMITS), resamples=0)
    assert "saturating" in str(found.together)
    assert "did not compete" not in str(found.together)


def test_nothing_is_quoted_of_perplexities_that_are_taken_for_losses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 4), np.geomspace(1e9, 1e11, 4)))
    noise = 0.002 * np.random.default_rng(0).standard_normal(16)
    loss = (1.7 + 400 * n**-0.34 + 410 * d**-0.28) * np.exp(noise)
    path = tmp_path / "runs.csv"
    pd.DataFrame({"N": n, "D": d, "loss": np.exp(loss)}).to_csv(path, index=False)
    arguments = [str(path), "--approach", "all", "--resamples", "0", "--predict", "C=1e21"]
    assert main(arguments) == 0
    said, answers = capsys.readouterr().out.split("\npredictions by")
    assert "1*" not in said
    assert "no row is recommended: the table is to be mended first: " in said
    assert "together: nothing can be quoted before the table is mended (loss_scale): state the scale" in said
    assert said.rstrip().endswith("--loss-is perplexity, bits_per_token, bits_per_byte=4.2 or nats")
    assert "warning loss_scale (blocks the quote): " in answers
