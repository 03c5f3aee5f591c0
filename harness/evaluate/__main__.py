"""`python -m harness.evaluate results/<sweep> [--run ID] --data FILE`: loss of a trained model on any text.

The loss is in nats per token and in bits per byte. On the sweep's own evaluation set it is that of the table.
Exit codes: 0 done, 2 wrong input.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.engine.mesh import make_mesh
from harness.engine.step import engine_for
from harness.evaluate.text_loss import TextLoss, read_documents, text_loss
from harness.execution import numerics
from harness.execution.execution import Execution, MeshConfig
from harness.records.command_line import CommandParser, add_model
from harness.records.errors import InputError
from harness.weights.run import TrainedRun, load_run, say_if_better


def evaluate_file(run: TrainedRun, data: Path, text_field: str, n_tokens: int | None) -> TextLoss:
    """Return the loss of a trained model on a file; see `read_documents` and `text_loss`."""
    tokenizer, _ = run.text_tokenizer()
    documents, left_out = read_documents(data, text_field)
    if left_out:
        print(f"note: {left_out:,} records of {data} hold no text and are left out", file=sys.stderr)
    # Unrolled layers, as kept parameters have one subtree per block.
    engine = engine_for(run.spec, make_mesh(MeshConfig()), Execution(scan_layers=False))
    return text_loss(engine, run.params, tokenizer.encode(documents), tokenizer.token_bytes, n_tokens)


def evaluate(given: argparse.Namespace) -> None:
    """Print the loss on the file, and that on the sweep's own evaluation set."""
    if given.n_tokens is not None and given.n_tokens < 1:
        raise InputError(f"at least 1 token was expected and {given.n_tokens} came", "n_tokens")
    numerics.settle()
    run = load_run(given.folder, given.run)
    say_if_better(given.folder, given.run, run.card)
    found = evaluate_file(run, given.data, given.text_field, given.n_tokens)
    card = run.card
    bits = "" if card.bits_per_byte is None else f", {card.bits_per_byte:.6f} bits per byte"
    print(f"{run.spec.rung}, run {card.run_id}, trained on {card.n_tokens:,} tokens")
    print(
        f"{given.data}: loss {found.loss:.6f} nats per token, {found.bits_per_byte:.6f} bits per byte over "
        f"{found.n_tokens:,} tokens of {found.n_bytes:,} bytes"
    )
    print(
        f"evaluation set of the sweep: loss {card.loss:.6f} nats per token{bits} over "
        f"{run.spec.data.eval_tokens:,} tokens"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = CommandParser(
        "harness.evaluate",
        "Score any text by a trained model of a sweep.",
        "python -m harness.evaluate results/mine --run d96 --data README.md",
    )
    add_model(parser)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FILE",
        help="JSON lines or parquet with a document in each record, or any UTF-8 file as one document",
    )
    parser.add_argument(
        "--text-field", default="text", metavar="NAME", help="field of the text in records (default: text)"
    )
    parser.add_argument(
        "--tokens",
        type=int,
        dest="n_tokens",
        help="score so many tokens, spread evenly as in a sweep (default: all but the first)",
    )
    return parser.answer(arguments, evaluate)


if __name__ == "__main__":
    sys.exit(main())
