"""Kept parameters: those that were scored, in a file that needs nothing beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from harness.data.text.tokenizer import Tokenizer
from harness.engine.step import engine_for
from harness.evaluate.loss import evaluate
from harness.execution.execution import Execution, MeshConfig
from harness.records.errors import Damaged, InputError
from harness.records.paths import RunFolder
from harness.weights.kept import CARD, Keep, Params, named, nested, read_card, read_kept
from harness.weights.tensor_file import read_tensors, write_tensors
from tests.recipes import RASTER, inputs, model, optim, run_spec, train

ENDS = (4 * RASTER, 8 * RASTER)
SPEC = run_spec(model=model(vocab_size=257))
TOKENIZER = Tokenizer(257, "")
KEEP = Keep(frozenset(SPEC.point_id(n) for n in ENDS), "fp32", TOKENIZER)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of two end points that keep their parameters; not to be changed."""
    folder = tmp_path_factory.mktemp("kept") / SPEC.run_id
    assert train(folder, SPEC, ENDS, keep=KEEP) == "done"
    return RunFolder(folder)


def loss_of(params: Params, spec=SPEC) -> float:
    given = inputs()
    return evaluate(engine_for(spec, given.mesh), params, given.eval_set).loss


def test_each_point_keeps_the_parameters_that_were_scored(run: RunFolder) -> None:
    for n_tokens in ENDS:
        point = json.loads(run.point(SPEC.point_id(n_tokens)).read_text())
        kept = read_kept(run.point_weights(SPEC.point_id(n_tokens)))
        card = kept.card
        assert (card.run_id, card.point_id, card.n_tokens) == (SPEC.run_id, point["point_id"], n_tokens)
        assert (card.loss, card.bits_per_byte) == (point["loss"], point["bits_per_byte"])
        assert card == read_card(run.point_weights(SPEC.point_id(n_tokens)))
        assert (kept.spec, kept.tokenizer) == (SPEC, TOKENIZER)
        assert loss_of(kept.params) == point["loss"]


def test_keeping_changes_nothing_else(run: RunFolder, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / SPEC.run_id)
    assert train(other.root, SPEC, ENDS) == "done"
    assert not other.weights.exists()
    names = [path.relative_to(run.root) for path in run.root.glob("curves/*")]
    assert {path.relative_to(other.root) for path in other.root.glob("curves/*")} == set(names)
    for n_tokens in ENDS:
        mine, theirs = (json.loads(r.point(SPEC.point_id(n_tokens)).read_text()) for r in (run, other))
        for key in ("seconds", "sha256"):
            del mine[key], theirs[key]
        assert mine == theirs


def test_half_precision_rounds_each_parameter(run: RunFolder, tmp_path: Path) -> None:
    keep = replace(KEEP, point_ids=frozenset([SPEC.point_id(ENDS[0])]), precision="bf16")
    assert train(tmp_path / SPEC.run_id, SPEC, ENDS, keep=keep) == "done"
    other = RunFolder(tmp_path / SPEC.run_id)
    (path,) = other.weights.iterdir()
    assert path.stat().st_size < 0.6 * run.point_weights(path.stem).stat().st_size
    half, whole = read_kept(path), read_kept(run.point_weights(path.stem))
    assert half.card.precision == "bf16"
    for (name, rounded), (_, exact) in zip(named(half.params), named(whole.params), strict=True):
        assert rounded.dtype == np.float32, name
        np.testing.assert_array_equal(rounded, exact.astype(jnp.bfloat16).astype(np.float32))


@pytest.mark.parametrize(
    ("spec", "options"),
    [
        (run_spec(kind="constant", model=model(n_layers=1), optim=optim(name="schedule_free")), {}),
        (run_spec(kind="cosine", n_steps=16, model=model(n_layers=1)), {}),
        (
            run_spec(model=model(n_experts=2)),
            {"execution": Execution(scan_layers=True), "mesh": MeshConfig(fsdp=2)},
        ),
    ],
    ids=["average", "cosine", "experts, stacked and sharded"],
)
def test_every_kind_of_run_keeps_what_was_scored(tmp_path: Path, spec, options) -> None:
    keep = Keep(frozenset([spec.point_id(ENDS[0])]), "fp32", None)
    assert train(tmp_path / spec.run_id, spec, ENDS[:1], keep=keep, **options) == "done"
    kept = read_kept(RunFolder(tmp_path / spec.run_id).point_weights(spec.point_id(ENDS[0])))
    assert loss_of(kept.params, spec) == pytest.approx(kept.card.loss, rel=1e-5)


def test_names_are_those_of_the_tree(run: RunFolder) -> None:
    names = dict(named(read_kept(run.point_weights(SPEC.point_id(ENDS[0]))).params))
    assert {"embed", "head.kernel", "final_norm.gain", "blocks.1.attention.qkv.kernel"} <= names.keys()
    assert dict(named(nested(names))).keys() == names.keys()


def test_a_file_that_is_no_kept_model_is_refused(run: RunFolder, tmp_path: Path) -> None:
    arrays, texts = read_tensors(run.point_weights(SPEC.point_id(ENDS[0])))
    card = json.loads(texts[CARD])
    path = tmp_path / "x.safetensors"

    def refused(words: str, arrays: dict[str, np.ndarray], texts: dict[str, str]) -> None:
        write_tensors(path, arrays, texts)
        with pytest.raises(InputError, match=words):
            read_kept(path)

    refused("holds no model of this program", arrays, {})
    refused("card is no JSON", arrays, {CARD: "{"})
    refused("written under schema 9", arrays, {CARD: json.dumps(card | {"schema": 9})})
    refused("is not as expected|lacks|expected", arrays, {CARD: json.dumps(card | {"loss": "low"})})
    refused("of another version", arrays, {CARD: json.dumps(card | {"spec": {"rung": "d16"}})})
    refused("of another version", arrays, {CARD: json.dumps(card | {"tokenizer": {"size": 3}})})
    other = {"tokenizer": {"kind": "trained", "vocab_size": 300, "definition": ""}}
    refused("tokenizer has 300 tokens, its model 257", arrays, {CARD: json.dumps(card | other)})
    texts[CARD] = json.dumps(card | {"tokenizer": None})
    refused("embed is nothing", {k: v for k, v in arrays.items() if k != "embed"}, texts)
    refused("more is .*has nothing there", arrays | {"more": arrays["embed"]}, texts)
    refused("embed is .2, 2", arrays | {"embed": np.zeros((2, 2), np.float32)}, texts)


def test_a_damaged_file_is_not_trained_again(tmp_path: Path) -> None:
    """The point stands without it; who needs the parameters hears that they are damaged."""
    assert train(tmp_path / SPEC.run_id, SPEC, ENDS[:1], keep=KEEP) == "done"
    path = RunFolder(tmp_path / SPEC.run_id).point_weights(SPEC.point_id(ENDS[0]))
    path.write_bytes(path.read_bytes()[:-1])
    assert train(tmp_path / SPEC.run_id, SPEC, ENDS[:1], keep=KEEP) == "done"
    with pytest.raises(Damaged, match="no whole safetensors file"):
        read_kept(path)


def test_a_point_that_is_trained_again_is_kept_then(run: RunFolder, tmp_path: Path) -> None:
    """As the plan says of points that were trained without being kept: its file is deleted."""
    other, point_id = RunFolder(tmp_path / SPEC.run_id), SPEC.point_id(ENDS[0])
    assert train(other.root, SPEC, ENDS) == "done"
    other.point(point_id).unlink()
    assert train(other.root, SPEC, ENDS, keep=KEEP) == "done"
    assert [path.stem for path in other.weights.iterdir()] == [point_id]
    assert other.point_weights(point_id).read_bytes() == run.point_weights(point_id).read_bytes()
