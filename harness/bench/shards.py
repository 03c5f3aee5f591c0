"""`python -m harness.bench.shards`: a large set of token shards, opened and trained on beside a small one.

The shards hold random tokens and are written out of memory, so that windows come from the disk. Steps on
both corpora take turns, by the clock, because waiting for a disk takes no processor.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from harness.bench.__main__ import rungs_of, spec_of
from harness.bench.contestants import SweepStep
from harness.bench.figures import print_figures
from harness.bench.rung import spread, take_turns
from harness.config.settings import load
from harness.data.build import DataConfig
from harness.data.corpus import Corpus
from harness.data.prepare import prepare_corpus
from harness.data.tokens.reader import Reader
from harness.recipe.spec import RunSpec
from harness.records.command_line import CommandParser, output_file
from harness.records.errors import InputError
from harness.train.loop import data_order

DESCRIPTION = """\
Measure how long it takes to open many gigabytes of token shards, for the first time and again, and how fast a
rung trains on them beside a corpus that lies in memory. The shards are written to the folder of temporary
files and removed at the end."""
SHARD_MB, SMALL_MB = 500, 16
VOCABULARY = 512
EXAMPLE = "python -m harness.bench.shards --gb 20 --rungs 16,64"


class ReadingStep(SweepStep):
    """The training step of a sweep, from tokens on the disk to metrics: reading included.

    Args:
        spec: recipe of the rung.
        corpus: what it is trained on.
    """

    def __init__(self, spec: RunSpec, corpus: Corpus):
        self.reader, self.step = Reader(data_order(spec, corpus.train), corpus.train), 0
        super().__init__(spec)

    def __call__(self) -> object:
        self.windows = self.reader.batches(self.step, self.n_steps)
        self.step += self.n_steps
        return super().__call__()

    def rate(self, seconds: float) -> float:
        """Return the tokens per second, by the clock, of the calls that begin within `seconds`."""
        start, n, last = time.perf_counter(), 0, None
        while n == 0 or time.perf_counter() - start < seconds:
            last, n = self(), n + 1
        jax.block_until_ready(last)
        return n * self.n_steps * self.spec.batch_tokens / (time.perf_counter() - start)


def write_shards(folder: Path, mb: float) -> None:
    """Write shards of random 16-bit tokens of about `mb` MB together, and drop them from memory."""
    folder.mkdir()
    tokens = np.random.default_rng(0).integers(VOCABULARY, size=int(SMALL_MB * 5e5), dtype="<u2")
    for number in range(max(1, round(mb / SHARD_MB))):
        with (folder / f"shard-{number:04d}.bin").open("wb") as file:
            for _ in range(max(1, int(min(mb, SHARD_MB) / SMALL_MB))):
                file.write(np.roll(tokens, number).data)
            file.flush()
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def opened(folder: Path, cache: Path) -> tuple[Corpus, float]:
    """Return the corpus of a folder, and the seconds that it took to open it."""
    config = DataConfig("tokens", VOCABULARY, "none", 0.01, 1, path=str(folder))
    began = time.perf_counter()
    corpus = prepare_corpus(config, cache)
    return corpus, time.perf_counter() - began


def compared(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of a large and a small set of shards."""
    settings = load(["+grid=chinchilla"])
    settings.data.vocab_size = VOCABULARY
    specs = [spec_of(rung, settings) for rung in rungs_of(options.rungs, settings)]
    write_shards(folder / "large", options.gb * 1000)
    write_shards(folder / "small", SMALL_MB)
    large, first = opened(folder / "large", folder / "cache")
    _, again = opened(folder / "large", folder / "cache")
    small, _ = opened(folder / "small", folder / "cache")
    figures: dict[str, Any] = {
        "gb": sum(file.stat().st_size for file in (folder / "large").iterdir()) / 1e9,
        "files": len(list((folder / "large").iterdir())),
        "seconds_to_open": {"first": first, "again": again},
        "rungs": [],
    }
    for spec in specs:
        steps = {"large": ReadingStep(spec, large), "small": ReadingStep(spec, small)}
        rates = take_turns(steps, options.seconds, options.repeats)
        row = {name: spread(values) for name, values in rates.items()}
        figures["rungs"].append(
            {"rung": spec.rung, "tokens_per_second": row, "ratio": spread(rates["large"] / rates["small"])}
        )
    return figures


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = CommandParser("harness.bench.shards", DESCRIPTION, EXAMPLE)
    parser.add_argument("--gb", type=float, default=20, help="size of the shards (default 20)")
    parser.add_argument("--rungs", default="16,64", help="values of d_model (default 16,64)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one measurement (default 1)")
    parser.add_argument("--repeats", type=int, default=9, help="measurements of each kind (default 9)")
    parser.add_argument("--json", type=output_file, help="where the figures go beside the screen")
    return parser.answer(arguments, measure)


def measure(options: argparse.Namespace) -> None:
    """Write the shards, measure, and print and write the figures."""
    for name, low in (("gb", 0.016), ("seconds", 0.01), ("repeats", 1)):
        if not getattr(options, name) >= low:
            raise InputError(f"{name} is {getattr(options, name)}, expected at least {low}", name)
    with tempfile.TemporaryDirectory(prefix="shards-") as name:
        figures = compared(Path(name), options)
    print_figures(figures, options.json)


if __name__ == "__main__":
    sys.exit(main())
