"""The command `python -m harness.bench`: options, one process per rung, and the printed tables.

Exit codes: 0 done, 2 wrong input, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from harness.bench.figures import write_figures
from harness.bench.rung import TEXTBOOK, TORCH, RungJob
from harness.config.schema import SweepSettings
from harness.config.settings import Loaded, known_keys, load, load_noted
from harness.config.values import typed
from harness.execution.hardware import platform_here
from harness.grid.rules import Rung, model_spec, optim_spec
from harness.launch.local.places import Seat, core_seat, worker_environment
from harness.recipe.spec import DataSpec, RunSpec, ScheduleSpec
from harness.records.command_line import CommandParser, output_file
from harness.records.errors import InputError
from harness.records.provenance import usable_cores
from harness.track.console import plain_console, print_notes

RUNGS = "16,32,48,64,96,128"
LOG_WIDTH = 140
DESCRIPTION = """\
How fast this machine trains each rung: tokens/s, FLOP/s by exact counting, the share of this device's own
matmul peak, compile seconds without a cache, peak memory. Each rung is trained in a process of its own: on
CPU one pinned, single-threaded core, as a worker of a sweep has it; on an accelerator the whole device. Model
and optimiser are those of sweeps/; any of their keys can be overridden, for example model.mlp=swiglu."""
# Settings of a model, with the only values that the decoder in PyTorch has.
TORCH_FIXED = {
    "n_experts": 1,
    "n_kv_heads": None,
    "kv_group": None,
    "tied_embeddings": False,
    "window": None,
    "dropout": 0.0,
    "z_loss": 0.0,
}
EXAMPLE = "python -m harness.bench --rungs 16,64 --compare textbook model.mlp=swiglu"
COMPARE = """\
what to time in turn with the step, for paired ratios (can be given twice). textbook: our decoder with plain
JAX kernels, trained as JAX trainers such as nanodo do it: automatic gradients of the whole batch at once,
one call a step. torch: a PyTorch decoder of the same shape with fused AdamW and scaled_dot_product_attention,
eager and under torch.compile, on CPU on one thread"""


def parser() -> CommandParser:
    """Return the argument parser of the command."""
    command = CommandParser("harness.bench", DESCRIPTION, EXAMPLE, known_keys())
    command.add_argument("overrides", nargs="*", metavar="key=value", help="configuration, as for a sweep")
    command.add_argument("--rungs", default=RUNGS, help=f"values of d_model (default {RUNGS})")
    command.add_argument("--seq-len", type=int, help="context (default: model.seq_len)")
    command.add_argument("--vocab", type=int, help="vocabulary (default: data.vocab_size)")
    command.add_argument("--batch-tokens", type=int, help="tokens a step (default: batch_size sequences)")
    command.add_argument("--seconds", type=float, default=0.5, help="of one measurement (default 0.5)")
    command.add_argument("--repeats", type=int, default=9, help="measurements of each kind (default 9)")
    command.add_argument("--compare", action="append", choices=(TEXTBOOK, TORCH), default=[], help=COMPARE)
    command.add_argument(
        "--torch-python",
        default=sys.executable,
        metavar="PATH",
        help="Python that has PyTorch (default: this)",
    )
    command.add_argument("--json", type=output_file, metavar="OUT", help="write all figures to a file")
    return command


def rungs_of(text: str, settings: SweepSettings) -> list[Rung]:
    """Return the rungs of a list such as `16,64`; raise InputError for anything but positive numbers."""
    widths = [word.strip() for word in text.split(",")]
    wrong = [word for word in widths if not word.isdecimal() or int(word) == 0]
    if wrong:
        raise InputError(
            f"--rungs expected values of d_model such as {RUNGS}, got {wrong[0]!r}; type for example "
            "--rungs 16,64"
        )
    return [Rung(int(width), settings.model.n_layers) for width in dict.fromkeys(widths)]


def settings_of(arguments: argparse.Namespace) -> Loaded:
    """Return the configuration of a sweep with the options of this command; raise InputError if invalid."""
    for name, low in (("seq_len", 1), ("vocab", 2), ("batch_tokens", 1), ("repeats", 1)):
        value = getattr(arguments, name)
        if value is not None and value < low:
            option = name.replace("_", "-")
            raise InputError(f"--{option} expected at least {low}, got {value}; type a larger number")
    if not arguments.seconds > 0:
        raise InputError(f"--seconds expected more than 0, got {arguments.seconds:g}; type for example 0.5")
    overrides = ["+grid=chinchilla", *arguments.overrides]
    if arguments.seq_len:
        # Nothing is evaluated here, so no amount of text limits the context.
        scored = [f"data.{name}={arguments.seq_len}" for name in ("eval_tokens", "curve_eval_tokens")]
        overrides += [*scored, f"model.seq_len={arguments.seq_len}"]
    if arguments.batch_tokens:
        seq_len = arguments.seq_len or load(overrides).model.seq_len
        sequences, rest = divmod(arguments.batch_tokens, seq_len)
        if rest:
            raise InputError(
                f"--batch-tokens expected a multiple of the context {seq_len}, got "
                f"{arguments.batch_tokens}; type {max(1, sequences) * seq_len}"
            )
        overrides.append(f"optim.batch_size={sequences}")
    found = load_noted(overrides)
    found.settings.data.vocab_size = arguments.vocab or found.settings.data.vocab_size
    if not found.settings.data.vocab_size:
        raise InputError(
            "the size of the vocabulary was expected, because no tokenizer is read here; type --vocab 50304"
        )
    return found


def spec_of(rung: Rung, settings: SweepSettings) -> RunSpec:
    """Return the recipe of a rung; data and schedule are placeholders: speed does not depend on them."""
    return RunSpec(
        rung=rung.name,
        model=model_spec(rung, settings.model, settings.data.vocab_size),
        optim=optim_spec(rung, settings.optim, {}),
        schedule=ScheduleSpec("wsd", 1, 0.0, 0.0),
        data=DataSpec("random", "random", 0.0, 0, 0),
        seed=0,
        log_interval=settings.grid.log_interval,
    )


def check_torch(python: str) -> None:
    """Raise InputError if the interpreter `python` has no PyTorch."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    try:
        found = subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
    except OSError:
        found = False
    if not found:
        raise InputError(
            f"--compare torch needs PyTorch, which {python} does not have; type uv sync --extra torch, or "
            "give an interpreter that has it with --torch-python PATH"
        )


def run_rung(job: RungJob) -> dict[str, Any]:
    """Time one rung in a process like a sweep's worker, and return its figures.

    Raises:
        InputError: If the process refuses the input.
        RuntimeError: If the process fails.
    """
    # The last core, because the first one gets most of the operating system's work.
    seat = Seat() if platform_here() != "cpu" else core_seat(usable_cores()[-1])
    environment = worker_environment(seat, 1)
    if TORCH in job.compare:
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # JAX and PyTorch share the GPU.
    command = [sys.executable, "-m", "harness.bench.rung"]
    done = subprocess.run(
        command, input=job.to_line(), capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode == 2:
        raise InputError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    if done.returncode:
        raise RuntimeError(f"rung {job.spec.rung} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def results(arguments: argparse.Namespace, settings: SweepSettings) -> Iterator[dict[str, Any]]:
    """Yield the figures of each rung; all input is checked before the first rung is timed."""
    specs = [spec_of(rung, settings) for rung in rungs_of(arguments.rungs, settings)]
    compare = tuple(dict.fromkeys(arguments.compare))
    if TORCH in compare:
        for name, value in TORCH_FIXED.items():
            found = getattr(settings.model, name)
            if found != value:
                raise InputError(
                    f"--compare torch has a decoder of model.{name}={typed(value)} and "
                    f"model.{name}={typed(found)} was given; leave one of them out"
                )
        check_torch(arguments.torch_python)
    if arguments.json and not arguments.json.resolve().parent.is_dir():
        raise InputError(
            f"--json expected a folder that exists, {arguments.json.parent} does not; type mkdir -p "
            f"{arguments.json.parent} first"
        )
    for spec in specs:
        job = RungJob(spec, arguments.seconds, arguments.repeats, compare, arguments.torch_python)
        yield run_rung(job)


def figure(values: dict[str, float], unit: float = 1.0, digits: int = 0) -> str:
    """Return `median (min–max)` as text, in multiples of `unit`."""
    median, low, high = (f"{values[key] / unit:,.{digits}f}" for key in ("median", "min", "max"))
    return f"{median} ({low}–{high})"


def speed_table(rows: list[dict[str, Any]]) -> Table:
    """Return the table of every rung's speed."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    names = ("rung", "N", "thousand tokens/s", "GFLOP/s", "% of matmul peak", "compile s", "peak MB")
    for name in names:
        table.add_column(name, justify="left" if name == "rung" else "right")
    for row in rows:
        table.add_row(
            row["rung"],
            f"{row['n_params']:,}",
            figure(row["tokens_per_second"], 1e3, 1),
            figure(row["flops_per_second"], 1e9, 1),
            figure(row["share_of_peak"], 0.01, 1),
            figure(row["compile_seconds"], 1, 1),
            f"{row['peak_bytes'] / 1e6:,.0f}",
        )
    return table


def ratio_table(rows: list[dict[str, Any]]) -> Table:
    """Return the table of speed ratios: the step of a sweep over each compared decoder."""
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("rung")
    names = list(dict.fromkeys(name for row in rows for name in row["compare"]))
    for name in names:
        table.add_column(f"{name}, thousand tokens/s", justify="right")
        table.add_column(f"step / {name}", justify="right")
    for row in rows:
        cells = []
        for name in names:
            other = row["compare"].get(name)
            cells += (
                [figure(other["tokens_per_second"], 1e3, 1), figure(other["ratio"], 1, 2)]
                if other
                else ["", ""]
            )
        table.add_row(row["rung"], *cells)
    return table


def print_tables(console: Console, rows: list[dict[str, Any]]) -> None:
    """Print the tables, the device and how to read the figures."""
    first = rows[0]
    console.print(speed_table(rows))
    if any(row["compare"] for row in rows):
        console.print(ratio_table(rows))
    peak = figure(first["matmul_flops_per_second"], 1e9, 0)
    console.print(
        f"{first['device']}, {first['batch_tokens']} tokens a step; median (min–max) of turns. The matmul "
        "peak is that of square fp32 products in JAX on the same device, of the fastest width tried, timed "
        f"in turn with the steps: {peak} GFLOP/s beside {first['rung']}. On CPU, seconds are those of the "
        "process: what others do on the core does not count."
    )
    for row in rows:
        sheet = row["data_sheet"]
        if sheet:
            share, peak = figure(sheet["mfu"], 0.01, 1), sheet["peak"] / 1e12
            console.print(
                f"{row['rung']}: {share} % of the {peak:,.0f} TFLOP/s that the data sheet of one "
                f"{sheet['device']} promises; a plan takes it as plan.mfu={sheet['mfu']['median']:.2g}"
            )
    for row in rows:
        for variant, reason in (row["torch"] or {"failed": {}})["failed"].items():
            console.print(f"{row['rung']}: PyTorch {variant} does not run here: {reason}")


def measure(options: argparse.Namespace) -> None:
    """Time every rung, and print and write the figures."""
    console = plain_console(LOG_WIDTH)
    rows: list[dict[str, Any]] = []
    found = settings_of(options)
    print_notes(console, found.notes)
    for row in results(options, found.settings):
        rows.append(row)
        print(f"{row['rung']} timed", file=sys.stderr)
    print_tables(console, rows)
    write_figures(options.json, {"seconds": options.seconds, "repeats": options.repeats, "rungs": rows})


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return parser().answer(arguments, measure)


if __name__ == "__main__":
    sys.exit(main())
