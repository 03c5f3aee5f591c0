"""Which metric is the loss, which count of tokens: names as programs log them."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.trackers.quantities import find_metrics
from analysis.trackers.tracked import TrackedRun
from harness.records.errors import InputError


def run(*names: str) -> TrackedRun:
    return TrackedRun("a", {name: pd.Series([3.0, 2.0], index=[1.0, 2.0]) for name in names})


@pytest.mark.parametrize(
    ("names", "loss", "kind"),
    [
        (("train/loss", "val/loss"), "val/loss", "evaluation"),
        (("loss", "eval_loss", "learning_rate"), "eval_loss", "evaluation"),
        (("loss/train", "loss/valid"), "loss/valid", "evaluation"),
        (("train/CrossEntropyLoss", "train/Perplexity"), "train/CrossEntropyLoss", "training"),
        (("eval/c4-val/CrossEntropyLoss", "train/CE loss"), "eval/c4-val/CrossEntropyLoss", "evaluation"),
        (("train/z_loss", "train/loss", "train/aux_loss"), "train/loss", "training"),
        (("loss", "load_balancing_loss"), "loss", "unknown"),
    ],
)  # fmt: skip
def test_the_loss(names: tuple[str, ...], loss: str, kind: str) -> None:
    found = find_metrics([run(*names)])
    assert (found.loss, found.loss_of) == (loss, kind)


def test_two_sets_of_evaluation_are_asked_about() -> None:
    with pytest.raises(
        InputError, match="several metrics may be the loss: name one out of 'eval/a/loss', 'eva"
    ):
        find_metrics([run("eval/a/loss", "eval/b/loss", "train/loss")])


@pytest.mark.parametrize(
    ("name", "is_lr"),
    [
        ("lr", True), ("train/learning_rate", True), ("optim/LR (group 0)", True), ("lr-AdamW", True),
        ("optim/learning_rate_group0", True), ("train/lrm", True), ("lr_decay_ratio", False), ("alr", False),
    ],
)  # fmt: skip
def test_the_learning_rate(name: str, is_lr: bool) -> None:
    assert (find_metrics([run("loss", name)]).lr == name) is is_lr


def test_the_learning_rate_of_the_same_group() -> None:
    one = run("branch-9/lr", "branch-9/loss", "lr", "loss")
    assert [find_metrics([one], loss=name).lr for name in ("loss", "branch-9/loss")] == ["lr", "branch-9/lr"]


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("throughput/total_tokens", True), ("throughput/total tokens", True), ("tokens", True),
        ("consumed_tokens", True), ("num_input_tokens_seen", True), ("train/n_tokens", True),
        ("tokens_per_second", False), ("tokens_per_batch", False), ("eval/tokens_accuracy", False),
    ],
)  # fmt: skip
def test_the_count_of_tokens(name: str, counts: bool) -> None:
    assert (find_metrics([run("loss", name)]).tokens == name) is counts
