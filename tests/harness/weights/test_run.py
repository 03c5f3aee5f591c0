"""Trained models by name: which is meant, what it computes, and what is said if there is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from harness.data.tokens.windows import eval_windows
from harness.records.errors import Damaged, InputError
from harness.records.json_files import write_record
from harness.records.paths import SweepFolder
from harness.weights.export import export
from harness.weights.run import find_kept, load_run
from tests.damages import DAMAGES
from tests.fakes.record import sweep_record
from tests.fakes.trained import ENDS, EVAL_TOKENS, LARGE, SMALL, TOKENIZER, documents, loss_in
from tests.recipes import SEQ_LEN


def test_a_rung_a_run_or_an_end_point_names_a_model(trained: Path) -> None:
    for name, spec, n_tokens in (
        ("d16", LARGE, ENDS[1]),
        ("d8", SMALL, ENDS[1]),
        (LARGE.run_id, LARGE, ENDS[1]),
        (SMALL.point_id(ENDS[0]), SMALL, ENDS[0]),
        (LARGE.point_id(ENDS[1]), LARGE, ENDS[1]),
    ):
        run = load_run(str(trained), name)
        assert (run.spec, run.card.n_tokens, run.tokenizer) == (spec, n_tokens, TOKENIZER)
        assert run.card.loss == loss_in(trained, spec, n_tokens)
        assert repr(run).startswith(f"TrainedRun({spec.rung}, run {spec.run_id}, {n_tokens:,} tokens, loss ")
    losses = {(spec, n): loss_in(trained, spec, n) for spec in (LARGE, SMALL) for n in ENDS}
    best = load_run(trained)
    assert (best.spec, best.card.n_tokens) == min(losses, key=lambda key: losses[key])


def test_the_logits_give_the_loss_of_the_table(trained: Path) -> None:
    windows = eval_windows(TOKENIZER.encode(documents(1)), SEQ_LEN, EVAL_TOKENS)
    for spec in (LARGE, SMALL):
        logits = load_run(trained, spec.rung).logits(windows[:, :-1]).astype(np.float64)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        loss = -np.take_along_axis(log_p, windows[:, 1:, None], -1).mean()
        assert loss == pytest.approx(loss_in(trained, spec, ENDS[1]), rel=1e-5)


def test_one_sequence_is_a_batch_of_one(trained: Path) -> None:
    run, ids = load_run(trained, "d8"), [1, 2, 3]
    np.testing.assert_allclose(run.logits(ids), run.logits([ids, ids])[1], rtol=1e-5)


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ([], "shape \\[0\\]"),
        ([0.5], "float64"),
        ("text", "tokenizer.encode"),
        ([[[1]]], "shape \\[1, 1, 1\\]"),
        ([0, 257], "from 0 to 256 were expected and 0 to 257 came"),
        ([-1, 2], "-1 to 2"),
        ([1] * 17, "17 tokens came and the model's context has 16"),
    ],
)
def test_what_is_no_sequence_of_the_vocabulary_is_refused(trained: Path, tokens: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_run(trained, "d8").logits(tokens)


def test_wrong_names_and_folders_are_one_sentence(trained: Path, tmp_path: Path) -> None:
    def refused(folder: Path, run: str | None, words: str) -> None:
        with pytest.raises(InputError, match=words) as raised:
            load_run(folder, run)
        assert "\n" not in str(raised.value)

    refused(trained, "d166", "keeps no parameters of d166, .* type one of d.*, d.*; did you mean d16")
    refused(trained, LARGE.run_id[:-1] + "x", f"did you mean {LARGE.run_id}")
    refused(tmp_path, None, "is no folder of a sweep")
    refused(tmp_path / "nowhere", "d16", "nowhere is no folder of a sweep")
    write_record(tmp_path / "sweep.json", sweep_record())
    refused(tmp_path, "d16", "keeps no parameters of its models; train it in another folder with keep=auto")


@pytest.mark.parametrize("kind", [kind for kind in DAMAGES if kind != "deleted"])
def test_a_damaged_file_is_one_sentence_and_leaves_the_others(
    trained: Path, tmp_path: Path, kind: str
) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "copy"))
    path = SweepFolder(root).run(LARGE.run_id).point_weights(LARGE.point_id(ENDS[1]))
    DAMAGES[kind](path)
    wanted = [path.stem, LARGE.run_id, LARGE.rung]
    # A flipped bit is seen only in the file that is read, and the other model is the better one.
    for run in wanted if kind == "flipped" else [*wanted, None]:
        with pytest.raises(
            Damaged, match=rf"{path.stem}\.safetensors cannot be read .*; put .* or delete .*json"
        ):
            load_run(root, run)
    assert load_run(root, "d8").spec == SMALL


def test_a_damaged_export_names_the_command_that_writes_it(trained: Path, tmp_path: Path) -> None:
    written, *_ = export(trained, "d8", tmp_path)
    DAMAGES["flipped"](written)
    with pytest.raises(Damaged, match=r"its checksum differs\); write it again by python -m harness\.export"):
        load_run(tmp_path)


def test_parameters_of_another_end_point_are_refused(trained: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "copy"))
    first, last = (SweepFolder(root).run(LARGE.run_id).point_weights(LARGE.point_id(n)) for n in ENDS)
    shutil.copy(first, last)
    with pytest.raises(Damaged, match=f"it is of another end point, {first.stem}"):
        load_run(root, "d16")
    assert load_run(root, first.stem).spec == LARGE


def test_reading_changes_no_file(trained: Path) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in trained.rglob("*")}

    before = times()
    assert list(load_run(trained, "d16").sample("one", n_tokens=2))
    find_kept(trained)
    assert times() == before
