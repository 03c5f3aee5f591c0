"""A sweep of two tiny models on text, trained in this process, that keeps all its end points."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.data.text.tokenizer import Tokenizer
from harness.data.tokens.windows import eval_windows
from harness.evaluate.eval_set import EvalSet
from harness.recipe.spec import Job, RunSpec
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.train.loop import train_job
from harness.weights.kept import Keep
from tests.fakes.record import cell, sweep_record
from tests.recipes import RASTER, SEQ_LEN, inputs, model, run_spec

TOKENIZER = Tokenizer(257, "")
ENDS = (4 * RASTER, 8 * RASTER)
LARGE = run_spec(rung="d16", model=model(vocab_size=257, key_shift=True))
SMALL = run_spec(rung="d8", model=model(vocab_size=257, d_model=8, n_heads=1, d_ff=16))
EVAL_TOKENS = 40 * SEQ_LEN


def documents(seed: int, n: int = 40) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(["one", "two", "three", "µ"], 30)) for _ in range(n)]


def make_trained(root: Path) -> None:
    """Train both models; `held-out.jsonl` in the folder has the documents of the evaluation set."""
    held_out = TOKENIZER.encode(documents(1))
    eval_set = EvalSet.build(eval_windows(held_out, SEQ_LEN, EVAL_TOKENS), TOKENIZER.token_bytes)
    folder, specs = SweepFolder(root), (LARGE, SMALL)
    keep = Keep(frozenset(spec.point_id(n) for spec in specs for n in ENDS), "fp32", TOKENIZER)
    given = replace(
        inputs(keep=keep), tokens=TOKENIZER.encode(documents(0)), eval_set=eval_set, curve_eval_set=eval_set
    )
    for spec in specs:
        assert train_job(Job(spec, ENDS), folder.run(spec.run_id), given) == "done"
    cells = tuple(
        replace(cell(spec.run_id, n, spec.rung), point_id=spec.point_id(n)) for spec in specs for n in ENDS
    )
    write_record(folder.sweep, sweep_record(cells=cells))
    lines = [json.dumps({"text": text}) for text in documents(1)]
    (root / "held-out.jsonl").write_text("\n".join(lines))


def loss_in(root: Path, spec: RunSpec, n_tokens: int, column: str = "loss") -> float:
    """What the file of an end point says."""
    point = json.loads(SweepFolder(root).run(spec.run_id).point(spec.point_id(n_tokens)).read_text())
    return float(point[column])
