"""The command on tables: own and foreign, wide and long; what is wrong is said in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.emergence.__main__ import main
from analysis.emergence.read import read_evaluations
from analysis.emergence.study import conclude, judge_jumps
from analysis.records.emergence import Axis, Verdict, read_emergence
from harness.records.files import write_table
from tests import PUBLISHED
from tests.fakes.emergence import example, flat, make_task, power_law, write_tables


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALING_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tables(
        tmp_path_factory.mktemp("results") / "simulated", [example(k=7, seeds=2)[i] for i in (0, 3, 4)]
    )


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A published table of one model a size."""
    rows, _ = make_task(np.random.default_rng(3), "a", power_law(0.7, 1.2), 4, k=8, seeds=1)
    frame = pd.DataFrame(
        {
            "params_m": rows["N"] / 1e6,
            "score_pct": 100 * rows["exact_match"],
            "nll": rows["nll_per_token"],
            "ppl": np.exp(rows["nll_per_token"]),
            "what": "copying",
        }
    )
    path = tmp_path / "published.csv"
    frame.to_csv(path, index=False)
    return path


def run(*words: object) -> int:
    return main([str(word) for word in words])


def change(root: Path, where: Path, name: str, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """A copy of the sweep with one table changed."""
    where.mkdir(parents=True)
    for path in root.glob("*.parquet"):
        frame = pd.read_parquet(path)
        write_table(where / path.name, edit(frame) if path.stem == name else frame)
    return where


def test_a_sweep_folder(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.json"
    assert run(sweep, "--axis", "N", "--json", out) == 0
    printed, found = capsys.readouterr().out, read_emergence(out)
    assert [axis.axis for axis in found.axes] == [Axis.N]
    names = {task.name: task for task in found.tasks}
    assert set(names) == {"addition 4", "digit_sum 1", "recall 1", "text"}
    assert names["digit_sum 1"].verdict == Verdict.NOT_LEARNED
    assert not names["text"].has_exact
    assert all(task.words in printed for task in names.values())
    assert "Not examined" in printed
    for task in names.values():
        for size in task.sizes:
            if size.product is not None:
                assert size.accuracy_power is not None
                assert size.product <= size.accuracy_power + 1e-9
    assert {row.metric for row in found.in_context} >= {"loss_at_position", "kl_model", "icl_score"}


def test_the_same_seed_gives_the_same_bytes(sweep: Path) -> None:
    first = conclude(sweep)
    written = (sweep / "emergence.json").read_bytes()
    assert conclude(sweep) == first
    assert (sweep / "emergence.json").read_bytes() == written
    assert read_emergence(sweep / "emergence.json") == first
    assert len(first.first) == 4
    assert [axis.axis for axis in first.axes] == [Axis.N, Axis.C, Axis.LOSS]
    assert first.axes[0].constant == "D = 4e+06 tokens at every size"
    assert first.verdict.startswith("Along N: ")


def test_an_axis_that_the_sweep_does_not_vary(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(sweep, "--axis", "D") == 2
    assert "does not vary D: use one of the axes N" in capsys.readouterr().err


@pytest.mark.parametrize("smooth", ["smooth=nll", "perplexity=ppl"])
def test_a_wide_table(wide: Path, tmp_path: Path, smooth: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.json"
    columns = f"N=params_m,exact=score_pct,task=what,{smooth}"
    assert run(wide, "--map", columns, "--scale", "exact=0.01,N=1e6", "--json", out) == 0
    (task,) = read_emergence(out).tasks
    assert task.task == "copying"
    assert task.sizes[0].at == pytest.approx(2e4)
    assert task.sizes[0].nll == pytest.approx(pd.read_csv(wide)["nll"][0])
    assert "the table names no chance level: it is taken as 0" in capsys.readouterr().out


@pytest.mark.parametrize("smooth", ["smooth=nll", "perplexity=ppl"])
def test_a_smooth_metric_alone(
    wide: Path, tmp_path: Path, smooth: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.json"
    assert run(wide, "--map", f"N=params_m,task=what,{smooth}", "--json", out) == 0
    (task,) = read_emergence(out).tasks
    assert task.verdict in (Verdict.SMOOTH, Verdict.INCONCLUSIVE)
    assert not task.has_exact
    printed = capsys.readouterr().out
    assert "warning: the table has no exact_match: tasks are judged by the smooth metric alone" in printed
    assert "chance level" not in printed
    assert "exact match" not in printed.replace("exact_match", "")


def test_a_sweep_without_exact_match(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = change(sweep, tmp_path / "copy", "evals", without("exact_match"))
    assert run(root, "--axis", "N") == 0
    assert "judged by the smooth metric alone" in capsys.readouterr().out


def test_a_long_table(wide: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(wide).assign(exact_match=lambda rows: rows["score_pct"] / 100)
    rows = frame.rename(columns={"nll": "nll_per_token"}).melt(
        ["params_m", "what"], ["exact_match", "nll_per_token"], "metric", "value"
    )
    path, out = tmp_path / "long.csv", tmp_path / "found.json"
    rows.to_csv(path, index=False)
    columns = "N=params_m,task=what,metric=metric,value=value"
    assert run(path, "--map", columns, "--chance", "0", "--json", out) == 0
    found = read_emergence(out)
    assert found.tasks[0].n_sizes == 8
    assert found.warnings == ()


def test_no_right_answer_at_all_is_a_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = make_task(np.random.default_rng(0), "long", power_law(0.4, 2.2), 30, k=7, seeds=1, n_items=300)
    assert task[0]["exact_match"].max() == 0
    root = write_tables(tmp_path / "sweep", [task])
    assert run(root, "--axis", "N") == 0
    assert "exact match below 0.01 (none right) to below 0.01 (none right)" in capsys.readouterr().out


def test_other_settings_do_not_mix_into_a_curve(sweep: Path, tmp_path: Path) -> None:
    """Steps on the way, demonstrations and problems seen in training stand in the same table."""

    def add(rows: pd.DataFrame) -> pd.DataFrame:
        own = rows[rows["task"] == "recall"]
        others = [own.assign(point_id=None), own.assign(n_shot=4), own.assign(split="seen")]
        seen = rows.assign(split=rows["split"].where(rows["task"] != "addition", "seen"))
        return pd.concat([seen, *(other.assign(value=0.5) for other in others)], ignore_index=True)

    before = judge_jumps(read_evaluations(sweep), axis="N")
    after = judge_jumps(read_evaluations(change(sweep, tmp_path / "copy", "evals", add)), axis="N")
    for old, new in zip(before.tasks, after.tasks, strict=True):
        assert replace(old, split=new.split) == new
        assert new.split == {"addition": "seen", "text": None}.get(new.task, "test")


def test_a_rule_that_is_new_in_every_document_is_judged_with_demonstrations(
    sweep: Path, tmp_path: Path
) -> None:
    def rename(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.assign(task=rows["task"].replace("recall", "functions"))
        own = rows[rows["task"] == "functions"]
        return pd.concat([rows, own.assign(n_shot=1, value=0.5), own.assign(n_shot=4)], ignore_index=True)

    found = judge_jumps(read_evaluations(change(sweep, tmp_path / "copy", "evals", rename)), axis="N")
    assert {task.n_shot for task in found.tasks if task.task == "functions"} == {4}
    assert {task.n_shot for task in found.tasks if task.task == "addition"} == {0}


def test_a_size_that_a_task_lacks_is_named(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(rows: pd.DataFrame) -> pd.DataFrame:
        gone = (rows["task"] == "recall") & rows["point_id"].str.startswith("d40000-")
        return rows[~gone]

    root = change(sweep, tmp_path / "copy", "evals", lose)
    assert run(root, "--axis", "N") == 0
    printed = capsys.readouterr().out
    assert "warning: recall 1: no values at 1 of 7 sizes (N = 4e+04); judged on the others" in printed
    assert "recall 1: too few sizes to test" in printed


def test_a_task_without_chance_level_is_left_out_by_name(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def forget(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(chance=rows["chance"].where(rows["task"] != "recall"))

    root = change(sweep, tmp_path / "copy", "evals", forget)
    assert run(root, "--axis", "N") == 0
    assert "left out: recall 1: the exact_match rows name no chance level" in capsys.readouterr().out
    assert run(root, "--axis", "N", "--chance", "0") == 0
    assert "left out" not in capsys.readouterr().out


def without(metric: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows[rows["metric"] != metric]


def no_chance(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["metric"].isin(["exact_match", "nll_per_token"])].assign(chance=np.nan)


@pytest.mark.parametrize(
    ("table", "edit", "words"),
    [
        ("evals", without("nll_per_token"), "the table has exact match but no smooth metric"),
        ("evals", lambda rows: rows.drop(columns="chance"), "lacks the columns chance"),
        ("evals", lambda rows: rows.assign(point_id=None), "no evaluation belongs to a finished point"),
        ("points", lambda rows: rows.assign(status="failed"), "no evaluation belongs to a finished point"),
    ],
)
def test_spoilt_sweeps_are_one_sentence_and_exit_2(
    sweep: Path, tmp_path: Path, table: str, edit: Any, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(change(sweep, tmp_path / "copy", table, edit)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--map", "N=params_m,exact=score_pct,smooth=nll"],
            "scale exact=0.01 for percent (--scale)",
        ),
        (
            ["--map", "N=size,exact=score_pct,smooth=nll"],
            "the mapping for N names the column 'size': expected one out of 'params_m'",
        ),
        (["--map", "exact=score_pct,smooth=nll"], "names no axis"),
        (
            ["--map", "N=params_m,exact=score_pct", "--scale", "exact=0.01"],
            "expected the loss of the answers",
        ),
        (["--map", "N=params_m,right=score_pct"], "no key of the mapping is called right"),
        (["--map", "N=params_m,smooth=nll,perplexity=ppl"], "keep one smooth metric (--map)"),
        (["--map", "N=params_m,exact"], "without '='"),
        (
            ["--map", "N=params_m,exact=score_pct,smooth=nll", "--scale", "exact=percent"],
            "exact=percent: expected a positive",
        ),
        (
            ["--map", "N=params_m,exact=score_pct,smooth=nll", "--scale", "right=2"],
            "no key of the scale is called right",
        ),
        (["--map", "N=params_m,exact=nll,smooth=nll", "--where", "what=else"], "the column holds copying"),
        (["--map", "N=params_m,exact=nll,smooth=nll", "--where", "color=red"], "names the column 'color'"),
        (["--chance", "2"], "--chance is 2"),
        (["--seed", "-1"], "--seed: '-1' was given, expected a whole number from 0"),
        ([], "lacks the columns run_id"),
    ],
)
def test_bad_words_are_one_sentence_and_exit_2(
    wide: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(wide, *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_table_whose_only_task_has_no_chance_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = make_task(np.random.default_rng(0), "task", flat(1.0), 2, k=7, seeds=1, n_items=50)
    root = change(write_tables(tmp_path / "sweep", [task]), tmp_path / "copy", "evals", no_chance)
    assert run(root, "--axis", "N") == 0
    assert "left out: task 2: the exact_match rows name no chance level" in capsys.readouterr().out


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"no published data at {PUBLISHED}: set SCALING_DATA_DIR")
def test_published_tables_by_mapping(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    columns = "N=N,exact=lambada_openai.acc,perplexity=lambada_openai.ppl,task=shots"
    table = PUBLISHED / "pythia_evals" / "pythia_v1_evals.csv"
    where = "step=143000,deduped=0"
    assert run(table, "--map", columns, "--where", where, "--chance", "0", "--json", out) == 0
    assert [task.verdict for task in read_emergence(out).tasks] == [Verdict.SMOOTH, Verdict.SMOOTH]


def test_rows_without_a_usable_axis_are_left_out_and_said(
    wide: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_csv(wide)
    frame.loc[[1, 3], "params_m"] = [-1.0, np.inf]
    frame.to_csv(wide, index=False)
    options = ["--map", "N=params_m,exact=score_pct,smooth=nll", "--scale", "exact=.01,N=1e6"]
    assert run(wide, *options) == 0
    out = capsys.readouterr().out
    assert "2 rows have no positive and finite params_m and are left out" in out
    assert "inf" not in out


def test_words_for_sizes_and_percent_are_numbers(wide: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.read_csv(wide)
    printed = []
    for written in (False, True):
        if written:
            frame["params_m"] = [f"{size!r}M" for size in frame["params_m"]]
            frame["score_pct"] = [f"{share!r} %" for share in frame["score_pct"]]
        frame.to_csv(wide, index=False)
        scale = [] if written else ["--scale", "exact=.01,N=1e6"]
        assert run(wide, "--map", "N=params_m,exact=score_pct,smooth=nll", *scale) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
