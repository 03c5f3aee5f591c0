"""`python -m harness.bench.seeking`: time to reach any step of a run over a mixture of sources.

A step lies within epochs that were read from before, at the beginning of a source's new epoch, or far on in
new epochs of all sources. Sources are all zeros without memory of their
own, so times are those of the order and not of a disk.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from bisect import bisect_left
from collections.abc import Iterable
from statistics import median
from typing import Any

import numpy as np

from harness.bench.figures import print_figures
from harness.data.tokens.interleave import in_period
from harness.data.tokens.mixture import Mixture, MixtureOrder
from harness.data.tokens.windows import MAX_UNBLOCKED_SOURCE
from harness.records.command_line import CommandParser, output_file
from harness.records.errors import InputError

DESCRIPTION = """\
Measure how many CPU milliseconds it takes to reach a step of a run over a mixture of sources, within an
epoch and at the beginning of new ones."""
# Windows and weight of each source: the longest that is not cut into blocks, two shorter ones, one that is;
# then the same again in other sizes.
SOURCES = {
    "long": (MAX_UNBLOCKED_SOURCE, 0.2),
    "odd": (300_007, 0.2),
    "short": (40_009, 0.05),
    "blocks": (4 * MAX_UNBLOCKED_SOURCE, 0.15),
    "half": (262_145, 0.1),
    "tiny": (997, 0.05),
    "more_blocks": (9 * MAX_UNBLOCKED_SOURCE + 4321, 0.15),
    "prime": (100_003, 0.1),
}
FAR = 10**6  # steps
EXAMPLE = "python -m harness.bench.seeking --batch-size 64"


def mixture(n_sources: int, seq_len: int) -> Mixture:
    """Return a mixture of the first sources, with as many windows of `seq_len` inputs as SOURCES says."""
    names = tuple(SOURCES)[:n_sources]
    streams = [np.broadcast_to(np.uint16(0), SOURCES[name][0] * seq_len + 1) for name in names]
    return Mixture(names, in_period([SOURCES[name][1] for name in names]), tuple(streams))


def new_epochs(order: MixtureOrder, source: int, n: int) -> list[int]:
    """Return the steps at which the first `n` epochs of a source begin that are not its very first."""
    own = order.orders[order.mixture.names[source]]

    def read(step: int) -> int:
        """Return the windows of the source up to and with a step."""
        return int(order.interleaving.before((step + 1) * order.batch_size)[source])

    return [bisect_left(range(2**40), epoch * own.n_windows + 1, key=read) for epoch in range(1, n + 1)]


def milliseconds(order: MixtureOrder, steps: Iterable[int]) -> dict[str, float]:
    """Return median and largest CPU time of reaching each of the steps."""
    taken = []
    for step in steps:
        began = time.process_time()
        order.batch(order.mixture, step)
        taken.append(1e3 * (time.process_time() - began))
    return {"median": median(taken), "largest": max(taken)}


def measured(n_sources: int, seq_len: int, batch_size: int, n: int) -> dict[str, Any]:
    """Return the CPU milliseconds of `n` seeks of each kind.

    Args:
        n_sources: sources of the mixture.
        seq_len: inputs per window.
        batch_size: windows per step.
        n: seeks.
    """
    order = MixtureOrder(mixture(n_sources, seq_len), seq_len, batch_size, seed=0)
    order.batch(order.mixture, 0)
    names = order.mixture.names
    end = min(new_epochs(order, source, 1)[0] for source in range(n_sources))
    draw = random.Random(0)
    within = milliseconds(order, [draw.randrange(end) for _ in range(n)])
    begin = {name: milliseconds(order, new_epochs(order, source, n)) for source, name in enumerate(names)}
    far = milliseconds(order, [FAR + draw.randrange(FAR) for _ in range(n)])
    return {
        "seq_len": seq_len,
        "batch_size": batch_size,
        "windows": {name: SOURCES[name][0] for name in names},
        "cpu_milliseconds": {"within_an_epoch": within, "new_epoch_of": begin, "far_on": far},
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = CommandParser("harness.bench.seeking", DESCRIPTION, EXAMPLE)
    parser.add_argument("--sources", type=int, default=8, help="sources of the mixture, 1 to 8 (default 8)")
    parser.add_argument("--seq-len", type=int, default=128, help="inputs per window (default 128)")
    parser.add_argument("--batch-size", type=int, default=32, help="windows per step (default 32)")
    parser.add_argument("--seeks", type=int, default=30, help="seeks of each kind (default 30)")
    parser.add_argument("--json", type=output_file, help="where the figures go beside the screen")
    return parser.answer(arguments, measure)


def measure(options: argparse.Namespace) -> None:
    """Measure, print and write the figures."""
    bounds = {"sources": len(SOURCES), "seq_len": 2**16, "batch_size": 2**16, "seeks": 10**4}
    for name, most in bounds.items():
        if not 1 <= getattr(options, name) <= most:
            raise InputError(f"{name} is {getattr(options, name)}, expected 1 to {most}", name)
    figures = measured(options.sources, options.seq_len, options.batch_size, options.seeks)
    print_figures(figures, options.json)


if __name__ == "__main__":
    sys.exit(main())
