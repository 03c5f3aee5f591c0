"""`python -m analysis.import_runs`: files of other programs become tables that fits and forecasts read.

Files under tests/stored/tracked were made by the libraries themselves: tensorboardX 2.6.5, tensorboard
2.21.0, wandb 0.31.0 and mlflow-skinny 3.17.2 (make.py beside them). W&B exports charts in the browser. The
other logs are printed by scripts; each function here names the file of the project that prints such lines.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

import analysis as sl
from analysis import fit
from analysis.curves.table import read_curves
from tests.analysis.trackers.importing import PER_STEP, SIZES, STORED, imported
from tests.analysis.trackers.truth import FEW, ROWS, RUNS, TOKENS_PER_STEP, Truth

pytestmark = pytest.mark.usefixtures("in_folder")


def check(ends: pd.DataFrame, runs: list[Truth], tolerance: float = 1e-6) -> None:
    """The end points are those of the runs, up to the precision of the format."""
    assert set(ends.run) == {run.name for run in runs}
    by_name = ends.set_index("run")
    for run in runs:
        row = by_name.loc[run.name]
        assert run.n == row.N
        assert pytest.approx(run.last * TOKENS_PER_STEP) == row.D
        assert pytest.approx(run.loss(run.last), rel=tolerance) == row.loss


def chart(
    runs: list[Truth], metric: str = "val/loss", spread: float = 0.0, axis: str = "Step"
) -> pd.DataFrame:
    """The CSV behind a chart of W&B: the union of all steps, blank where a run logged nothing."""
    steps = sorted({step for run in runs for step in run.steps})
    scale = TOKENS_PER_STEP if axis != "Step" else 1
    table = pd.DataFrame({axis: [step * scale for step in steps]})
    for run in runs:
        value = run.lr if metric == "lr" else run.loss
        found = [value(step) if step in run.steps else None for step in steps]
        table[f"{run.name} - {metric}"] = found
        for end, sign in (("__MIN", -1), ("__MAX", 1)):
            table[f"{run.name} - {metric}{end}"] = [x if x is None else x + sign * spread for x in found]
    return table


def test_events_of_tensorboardx_are_fitted_and_forecast() -> None:
    """Twelve folders of runs; the law behind them is found again, without a mapping."""
    ends, curves, record = imported(STORED / "tensorboardx", *SIZES, *PER_STEP)
    check(ends, RUNS)
    assert fit.main(["runs.csv", "--resamples", "0", "--json", "fit.json"]) == 0
    found = json.loads(Path("fit.json").read_text())
    assert found["params"] == pytest.approx(
        {"E": 1.7, "A": 400, "B": 410, "alpha": 0.34, "beta": 0.28}, rel=1e-4
    )
    assert curves is not None
    read = read_curves(Path("runs.curves.csv"))
    assert {run.name: (run.size, run.ends[-1].step) for run in read} == {
        run.name: (run.n, run.last) for run in RUNS
    }
    assert record.lr == "lr"


def test_a_restart_replaces_what_it_logged_again() -> None:
    """The first run was killed after six rows and began again at its fifth, with another loss there."""
    ends, curves, record = imported(STORED / "tensorboardx", *SIZES, *PER_STEP)
    assert curves is not None
    own = curves[curves.run == RUNS[0].name]
    assert own.step.tolist() == RUNS[0].steps
    assert own.loss.tolist() == pytest.approx([RUNS[0].loss(step) for step in RUNS[0].steps], rel=1e-6)
    assert {run.run: run.replaced for run in record.runs if run.replaced} == {RUNS[0].name: 2}
    assert len(ends) == len(RUNS)


def test_tensors_of_tensorflow_2() -> None:
    ends, _, record = imported(STORED / "tensorboard", *SIZES, *PER_STEP)
    check(ends, FEW)
    assert (record.loss, record.loss_of) == ("eval/loss", "evaluation")


def test_files_of_wandb_itself() -> None:
    """Steps are those that the script logged as `iter`; W&B's own count rises by one a call."""
    ends, curves, record = imported(STORED / "wandb", *PER_STEP)
    check(ends, FEW, 1e-12)
    assert ends.set_index("run").status.to_dict() == {
        run.name: "failed" if run is FEW[1] else "finished" for run in FEW
    }
    assert curves is not None
    assert curves.lr.tolist() == [run.lr(step) for run in FEW for step in run.steps]
    assert {run.n_from for run in record.runs} == {"setting model.n_params"}
    assert {run.run: run.replaced for run in record.runs if run.replaced} == {FEW[0].name: 2}
    assert len(record.files) == 4


@pytest.mark.parametrize("kind", ["files", "database"])
def test_a_store_of_mlflow(kind: str) -> None:
    source = STORED / "mlruns"
    if kind == "database":
        source = Path("mlflow.db")
        source.write_bytes(gzip.decompress((STORED / "mlflow.db.gz").read_bytes()))
    ends, curves, record = imported(source, "--tokens-per-step", "batch_size*seq_len")
    check(ends, FEW, 1e-12)
    assert curves is not None
    assert len(curves) == 3 * ROWS
    # One run failed; the last loss of another was no number.
    states = ["finished", "failed", "diverged"]
    assert ends.set_index("run").status[[run.name for run in FEW]].tolist() == states
    assert {run.n_from for run in record.runs} == {"setting model/n_params"}
    # Only the finished run enters a fit.
    assert len(sl.load_table("runs.csv")) == 1


@pytest.mark.parametrize("sink", ["tensorboard", "mlflow"])
def test_what_the_sinks_of_a_sweep_wrote(sink: str) -> None:
    """The trunk of a run as its curve, and the end point under the names that sinks give it."""
    source = STORED / "sinks" / sink
    ends, curves, _ = imported(source, "--params", "1e4", "--loss", "train_loss", "--tokens-per-step", "128")
    assert curves is not None
    assert curves.step.tolist() == [8, 16]
    assert curves.loss.tolist() == pytest.approx([1 / 8, 1 / 16])
    assert ends.run.str.startswith("d16-seed0-").all()
    point = ["--params", "1e4", "--loss", "point/loss", "--tokens", "point/n_tokens"]
    ends, _, _ = imported(source, *point)
    assert ends[["D", "loss"]].to_numpy().tolist() == [[4096, 2.5]]


def test_deleted_runs_of_mlflow_are_left_out() -> None:
    shutil.copytree(STORED / "mlruns", "mlruns")
    meta = next(path for path in Path("mlruns").rglob("meta.yaml") if FEW[0].name in path.read_text())
    meta.write_text(meta.read_text().replace("lifecycle_stage: active", "lifecycle_stage: deleted"))
    Path("mlflow.db").write_bytes(gzip.decompress((STORED / "mlflow.db.gz").read_bytes()))
    with closing(sqlite3.connect("mlflow.db", isolation_level=None)) as base:
        base.execute("update runs set lifecycle_stage = 'deleted' where name = ?", (FEW[0].name,))
    for source in ("mlruns", "mlflow.db"):
        ends, _, _ = imported(source, "--tokens-per-step", "batch_size*seq_len")
        assert set(ends.run) == {run.name for run in FEW[1:]}


def test_tokens_that_are_logged_at_other_steps_than_losses() -> None:
    """Straight lines between logged counts, and in proportion before the first and behind the last."""
    rows = [{"step": step, "train_loss": 3.0, "tokens": 1000 * step} for step in (20, 40, 80)]
    rows += [{"step": step, "val_loss": 3.0} for step in (10, 30, 60, 100)]
    Path("log.jsonl").write_text("\n".join(map(json.dumps, sorted(rows, key=lambda row: row["step"]))))
    _, curves, _ = imported("log.jsonl", "--params", "7e7")
    assert curves is not None
    assert curves.n_tokens.tolist() == [10_000, 30_000, 60_000, 100_000]


def test_the_list_of_runs_of_mlflow() -> None:
    tokens = f"{FEW[0].name}={FEW[0].last * TOKENS_PER_STEP},{FEW[1].name}={FEW[1].last * TOKENS_PER_STEP}"
    ends, curves, record = imported(STORED / "mlflow_runs.csv", "--tokens", tokens)
    check(ends, FEW[:2], 1e-12)
    assert curves is None
    assert [(each.run, each.reason) for each in record.left_out] == [(FEW[2].name, "no val/loss")]


def test_a_chart_of_wandb_beside_one_of_rates_and_the_table_of_runs() -> None:
    """Three exports of one project: losses, rates, and the settings that hold N."""
    chart(RUNS).to_csv("loss.csv", index=False)
    chart(RUNS, "lr").to_csv("lr.csv", index=False)
    settings = [
        {
            "Name": run.name,
            "State": "crashed" if run is RUNS[3] else "finished",
            "n_params": int(run.n),
            "seed": 0,
        }
        for run in RUNS
    ]
    pd.DataFrame(settings).to_csv("table.csv", index=False)
    ends, curves, record = imported("loss.csv", "lr.csv", "table.csv", *PER_STEP)
    check(ends, RUNS, 1e-12)
    assert curves is not None
    assert curves.lr.notna().all()
    assert ends[ends.status == "crashed"].run.tolist() == [RUNS[3].name]
    assert [file.path for file in record.files] == ["loss.csv", "lr.csv", "table.csv"]
    assert record.files[0].sha256 == hashlib.sha256(Path("loss.csv").read_bytes()).hexdigest()
    assert not any(run.averaged for run in record.runs)


def test_a_chart_over_tokens_whose_rows_are_means(capsys: pytest.CaptureFixture[str]) -> None:
    chart(FEW, spread=0.01, axis="throughput/total_tokens").to_csv("export.csv", index=False)
    ends, _, record = imported("export.csv", *SIZES)
    check(ends, FEW, 1e-12)
    assert all(run.averaged for run in record.runs)
    assert {run.tokens_from for run in record.runs} == {"axis of the chart"}
    assert "rows are means, as W&B exports" in capsys.readouterr().out


def history(run: Truth, **more: object) -> list[dict[str, object]]:
    """A history of W&B's interface: rows of evaluations and of training differ in their keys."""
    rows: list[dict[str, object]] = []
    for step in run.steps:
        rows.append(
            {"_step": step - 1, "train/loss": run.loss(step) + 0.02, "train/learning_rate": run.lr(step)}
        )
        rows.append({"_step": step, "eval/loss": run.loss(step), **more})
        rows[-1]["throughput/total_tokens"] = step * TOKENS_PER_STEP
    return rows


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_history_with_metrics_of_levanter(form: str) -> None:
    rows = [{"run": run.name, **row} for run in FEW for row in history(run, parameter_count=run.n)]
    frame = pd.DataFrame(rows)
    if form == "csv":
        frame.to_csv("history.csv", index=False)
    else:
        Path("history.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    ends, curves, record = imported(f"history.{form}")
    check(ends, FEW, 1e-12)
    assert curves is not None
    assert curves.lr.notna().sum() == len(FEW) * ROWS
    assert (record.loss, record.tokens, record.lr) == (
        "eval/loss", "throughput/total_tokens", "train/learning_rate"
    )  # fmt: skip


def nanogpt(run: Truth) -> str:
    """As karpathy/nanoGPT prints: train.py, and model.py for the size, which leaves out positions."""
    lines = [
        f"tokens per iteration will be: {TOKENS_PER_STEP:,}",
        f"number of parameters: {run.n / 1e6:.2f}M",
    ]
    for step in run.steps:
        lines.append(f"step {step}: train loss {run.loss(step) - 0.1:.4f}, val loss {run.loss(step):.4f}")
        lines.append(f"iter {step}: loss {run.loss(step) - 0.2:.4f}, time 50.12ms, mfu 33.21%")
    return "\n".join(lines)


def nanochat(run: Truth) -> str:
    """As karpathy/nanochat prints: scripts/base_train.py; its loss is a moving average."""
    lines = ["Parameter counts:", f"{'wte':24s}: {1_000_000:,}", f"{'total':24s}: {int(run.n):,}"]
    lines.append(f"Auto-computed optimal batch size: {2 * TOKENS_PER_STEP:,} tokens")
    lines.append(f"Tokens / micro-batch: {TOKENS_PER_STEP:,}")
    lines.append(f"Total batch size {TOKENS_PER_STEP:,} => gradient accumulation steps: 1")
    for step in run.steps:
        lines.append(f"Step {step:05d} | Validation bpb: {run.loss(step) / 3:.6f}")
        share = 100 * step / run.last
        lines.append(
            f"step {step:05d}/{run.last:05d} ({share:.2f}%) | loss: {run.loss(step):.6f} | "
            f"lrm: {run.lr(step) * 1e3:.2f} | dt: 500.00ms | tok/sec: 1,048,576 | bf16_mfu: 40.00 | "
            "epoch: 1 pq: 0 rg: 3 | total time: 0.52m | eta: 1.2m"
        )
    return "\n".join(lines)


def modded(run: Truth) -> str:
    """As KellerJordan/modded-nanogpt prints: train_gpt.py, where only evaluations have a loss."""
    return "\n".join(
        f"step:{s}/{run.last} val_loss:{run.loss(s):.4f} train_time:9ms step_avg:{9 / max(s, 1):.2f}ms\n"
        f"step:{s + 1}/{run.last} train_time:9ms step_avg:0.10ms"
        for s in run.steps
    )


def llm_c(run: Truth) -> str:
    """As karpathy/llm.c logs: llmc/logger.h; `eval` is the accuracy on HellaSwag."""
    return "\n".join(
        f"s:{s} tel:{run.loss(s):.4f}\ns:{s} eval:0.2945\n"
        f"s:{s} trl:{run.loss(s) - 0.1:.4f} lr:{run.lr(s):.6f} norm:0.33"
        for s in run.steps
    )


def llm_c_fp32(run: Truth) -> str:
    """As train_gpt2_fp32.cu of karpathy/llm.c logs, without the rate."""
    return "\n".join(f"s:{s} tel:{run.loss(s):.4f}\ns:{s} trl:{run.loss(s):.4f}" for s in run.steps)


def sized(run: Truth) -> list[str]:
    """As allenai/OLMo prints sizes: scripts/train.py."""
    return [
        f"2024-01-01 12:00:00 host:0 train:101 INFO Total number of parameters: {int(run.n):,}",
        f"2024-01-01 12:00:00 host:0 train:102 INFO Number of non-embedding parameters: {int(run.n) - 9:,}",
    ]


def olmo(run: Truth) -> str:
    """As allenai/OLMo prints: log_metrics_to_console of olmo/train.py, and evaluations below their label."""
    head = sized(run)
    for step in run.steps:
        head += [
            f"2024-01-01 12:00:00 host:0 olmo.train:945 INFO [step={step}/{run.last},epoch=0]",
            f"    train/CrossEntropyLoss={run.loss(step) - 0.1:.4f}",
            f"    throughput/total_tokens={step * TOKENS_PER_STEP:,}",
            "2024-01-01 12:00:01 host:0 olmo.train:1035 INFO Running evaluation for 'v3-small'...",
            "2024-01-01 12:00:02 host:0 olmo.train:1069 INFO [eval_step=8/8]",
            "2024-01-01 12:00:02 host:0 olmo.train:945 INFO v3-small-ppl-validation",
            f"    eval/v3-small-ppl-validation/c4_en/CrossEntropyLoss={run.loss(step):.4f}",
            f"    eval/v3-small-ppl-validation/c4_en/Perplexity={2.718 ** run.loss(step):.2f}",
        ]
    return "\n".join(head)


def olmo_core(run: Truth) -> str:
    """As allenai/OLMo-core prints: train/callbacks/console_logger.py and evaluator_callback.py."""
    head = sized(run)
    for step in run.steps:
        head += [
            f"2025-01-01 12:00:00 INFO [olmo_core.console_logger:68] [step={step}/???,epoch=1,eta=1h]",
            f"    train/CE loss={run.loss(step) - 0.1:.4f}",
            f"    throughput/total tokens={step * TOKENS_PER_STEP:,}",
            f"    optim/LR (group 0)={run.lr(step):.6f}",
            "2025-01-01 12:00:01 INFO [olmo_core.evaluator_callback:90] [eval=lm,step=5/5]",
            "2025-01-01 INFO [olmo_core.evaluator_callback:120] Finished lm evals in 2.5 seconds. Metrics:",
            f"    pile-validation/CE loss={run.loss(step):.4f}",
            f"    pile-validation/PPL={2.718 ** run.loss(step):.2f}",
            "2025-01-01 12:00:01 INFO [olmo_core.evaluator_callback:140] Evaluation speed:",
            "    pile-validation (+variants): 2.5 sec (5 batches)",
        ]
    return "\n".join(head)


def levanter(run: Truth) -> str:
    """As stanford-crfm/levanter logs: tracker/json_logger.py; names of callbacks/_metrics.py and eval.py.

    A step is counted from 0, its tokens include it, and what is logged before the first one has none.
    """
    events: list[dict[str, object]] = [{"event": "hparams", "hparams": {"trainer": {"seed": 0}}}]
    events.append({"event": "summary", "metrics": {"parameter_count": run.n}})
    events.append({"event": "log", "step": None, "metrics": {"first_batch": 1.0}})
    for step in run.steps:
        at, tokens = step - 1, step * TOKENS_PER_STEP
        trained = {"train/loss": run.loss(step) - 0.1, "global_step": at, "run_progress": step / run.last}
        logged = (
            trained,
            {"throughput/total_tokens": tokens, "throughput/tokens_per_second": 1e6, "throughput/mfu": 40.0},
            {"optim": {"learning_rate": run.lr(step)}},
            {"eval/loss": run.loss(step), "eval/macro_loss": run.loss(step) + 0.2, "eval/loading_time": 0.1},
        )
        events += [{"event": "log", "step": at, "metrics": metrics} for metrics in logged]
    events.append({"event": "finish", "summary": {"parameter_count": run.n}})
    return "\n".join(f"INFO {json.dumps({'tracker': 'json_logger', **event})}" for event in events)


@pytest.mark.parametrize(
    ("printed", "options", "loss"),
    [
        (nanogpt, [], "val/loss"),
        (nanochat, [], "loss"),
        (nanochat, ["--loss", "val/bpb", "--loss-is", "bits_per_byte=4.328085"], "val/bpb"),
        (modded, [*SIZES, *PER_STEP], "val_loss"),
        (llm_c, [*SIZES, *PER_STEP], "val_loss"),
        (llm_c_fp32, [*SIZES, *PER_STEP], "val_loss"),
        (llm_c_fp32, [*SIZES, *PER_STEP, "--loss", "train_loss"], "train_loss"),
        (olmo, ["--params", "n_params"], "eval/v3-small-ppl-validation/c4_en/CrossEntropyLoss"),
        (olmo_core, ["--params", "n_params"], "eval/lm/pile-validation/CE loss"),
        (levanter, [], "eval/loss"),
    ],
)
def test_printed_logs(printed: Callable[[Truth], str], options: list[str], loss: str) -> None:
    for run in FEW:
        Path(f"{run.name}.log").write_text(printed(run))
    ends, curves, record = imported(*[f"{run.name}.log" for run in FEW], *options)
    check(ends, FEW, 1e-4)
    assert curves is not None
    assert curves.loss.notna().sum() == len(FEW) * ROWS
    assert record.loss == loss


def test_levanter_joins_nested_names_by_strokes() -> None:
    """As its own summary at the end does; the learning rate of this log is nested."""
    Path("one.log").write_text(levanter(FEW[0]))
    _, curves, record = imported("one.log")
    assert record.lr == "optim/learning_rate"
    assert curves is not None
    assert curves.lr.tolist() == [FEW[0].lr(step) for step in FEW[0].steps]


def test_an_end_of_training_batches_is_a_mean() -> None:
    """A loss of training is noisy, so the last hundredth of the steps is averaged, unless told otherwise."""
    rows = [{"step": step, "train_loss": 3.0 + (0.5 if step % 2 else -0.5)} for step in range(1, 1001)]
    pd.DataFrame(rows).to_csv("one.csv", index=False)
    given = ["one.csv", "--params", "7e7", "--tokens-per-step", "1e6"]
    ends, _, record = imported(*given)
    assert ends.loss.tolist() == pytest.approx([3.0 - 0.5 / 11])
    assert record.end_share == 0.01
    assert imported(*given, "--end-share", "0")[0].loss.tolist() == [2.5]


def test_each_logged_loss_can_be_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    ends, _, _ = imported(STORED / "tensorboard", *SIZES, *PER_STEP, "--every")
    assert len(ends) == len(FEW) * ROWS
    assert "python -m analysis.fit runs.csv --map cluster=run" in capsys.readouterr().out
