"""Scores of test items against slower ways to the same numbers, and the files that runs leave."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from harness.data.tasks import markov
from harness.data.tasks.items import Group
from harness.data.tokens.windows import Order, eval_windows
from harness.engine.mesh import make_mesh
from harness.engine.step import Engine, advance, engine_for
from harness.evaluate import in_context
from harness.evaluate.decoding import greedy_answers
from harness.evaluate.eval_set import EvalSet
from harness.evaluate.tasks import TaskEvaluation
from harness.evaluate.token_scores import distributions, score
from harness.execution.execution import MeshConfig
from harness.model.attention import attention
from harness.recipe.schedule import is_task_step
from harness.recipe.spec import Job, RunSpec
from harness.records.columns import EVAL_COLUMNS, ITEM_COLUMNS
from harness.records.paths import RunFolder
from harness.train.loop import Interrupted, TrainInputs, train_job
from tests import recipes
from tests.task_corpus import TASK_CONFIGS, mixed_corpus

SEQ_LEN, N_ITEMS = 128, 40


def run_spec() -> RunSpec:
    model = recipes.model(
        vocab_size=300, seq_len=SEQ_LEN, d_model=32, n_heads=2, d_ff=64, key_shift=True, rope_theta=200.0
    )
    optim = recipes.optim(hidden_lr=0.012, embed_lr=0.2, head_lr=0.05)
    return recipes.run_spec(model=model, optim=optim)


@dataclass(frozen=True)
class Trained:
    engine: Engine
    params: Any
    tasks: TaskEvaluation
    plain: Any


@pytest.fixture(scope="module")
def trained(data_cache: Path) -> Trained:
    """A model that has learned to recall, and adds rather badly."""
    corpus = mixed_corpus(data_cache)
    spec = run_spec()
    engine = engine_for(spec, make_mesh(MeshConfig()))
    state = engine.init(jax.random.key(0))
    order = Order(len(corpus.train), SEQ_LEN, spec.optim.batch_size, 0)
    for first in range(0, 400, 100):
        batches = order.batches(corpus.train, first, 100)
        state, _ = advance(engine, state, batches, np.ones(100, np.float32), spec.optim)
    windows = eval_windows(corpus.eval, SEQ_LEN, 10 * SEQ_LEN)
    tasks = TaskEvaluation.build(TASK_CONFIGS, N_ITEMS, corpus, windows)
    return Trained(engine, state["params"], tasks, jax.jit(engine.forward.logits))


@pytest.fixture(scope="module")
def rows(trained: Trained) -> tuple[pd.DataFrame, pd.DataFrame]:
    found = trained.tasks.at_the_end(trained.engine, trained.params)
    evals, items = (pd.DataFrame(part) for part in found)
    return evals, items


def logits_of(trained: Trained, contexts: np.ndarray) -> np.ndarray:
    """By the plain forward pass, in whole contexts; what stands behind a place does not change it."""
    rows, width = contexts.shape
    whole = np.zeros((-(-rows // N_ITEMS) * N_ITEMS, SEQ_LEN), np.int32)
    whole[:rows, :width] = contexts
    found = [trained.plain(trained.params, part) for part in np.split(whole, len(whole) // N_ITEMS)]
    return np.concatenate(found).astype(np.float64)[:rows, :width]


def contexts_of(group: Group) -> np.ndarray:
    return group.sequences[:, : group.end - group.n_positions]


def free_running(trained: Trained, group: Group) -> np.ndarray:
    """Greedy decoding, token by token."""
    shown = contexts_of(group)
    for _ in range(group.n_positions):
        chosen = logits_of(trained, shown)[:, -1].argmax(axis=1)
        shown = np.concatenate([shown, chosen[:, None].astype(np.int32)], axis=1)
    return shown[:, -group.n_positions :]


def test_exact_match_is_that_of_free_running_greedy_decoding(
    trained: Trained, rows: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    items = rows[1].groupby(["task", "length", "n_shot"])
    shares = {}
    for group in trained.tasks.items.groups:
        right = (free_running(trained, group) == group.right).all(axis=1)
        shown = items.get_group((group.task, group.length, group.n_shot))
        assert shown.exact_match.tolist() == right.tolist()
        shares[group.task, group.length, group.n_shot] = right.mean()
    assert max(shares.values()) > 0.5
    assert min(shares.values()) < 0.5


def test_decoding_by_fixed_points_is_greedy_decoding(trained: Trained) -> None:
    groups = [group for group in trained.tasks.items.groups if group.n_shot == 0]
    sequences = [group.sequences.copy() for group in groups]
    # What stands in the places of the answers is replaced, whether right or wild.
    for group, tokens in zip(groups, sequences, strict=True):
        tokens[::2, -group.n_positions :] = 7
    scores = score(trained.engine, trained.params, sequences)
    first = [found.predicted[:, -g.n_positions :] for g, found in zip(groups, scores, strict=True)]
    found = greedy_answers(trained.engine, trained.params, sequences, first)
    for group, written in zip(groups, found, strict=True):
        assert written.tolist() == free_running(trained, group).tolist()


def test_p_answer_is_the_success_rate_of_sampling(
    trained: Trained, rows: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    rng = np.random.default_rng(0)
    n = 400
    items = rows[1].set_index(["task", "length", "n_shot", "item"]).log_p_answer
    for task, length in (("recall", 4), ("addition", 1), ("copy", 4)):
        group = next(
            g for g in trained.tasks.items.groups if (g.task, g.length, g.n_shot) == (task, length, 0)
        )
        for item in range(3):
            shown = np.repeat(contexts_of(group)[item : item + 1], n, axis=0)
            for _ in range(group.n_positions):
                # Most samples begin alike.
                distinct, which = np.unique(shown, axis=0, return_inverse=True)
                logits = logits_of(trained, distinct)[which, -1]
                chosen = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
                shown = np.concatenate([shown, chosen[:, None].astype(np.int32)], axis=1)
            rate = (shown[:, -group.n_positions :] == group.right[item]).all(axis=1).mean()
            p = float(np.exp(items[task, length, 0, item]))
            assert abs(rate - p) < 4 * np.sqrt(p * (1 - p) / n) + 1 / n


def test_padding_and_batching_change_no_score(trained: Trained) -> None:
    groups = [trained.tasks.items.groups[index] for index in (0, 3, -1)]
    for group, found in zip(
        groups, score(trained.engine, trained.params, [g.sequences for g in groups]), strict=True
    ):
        logits = logits_of(trained, group.sequences[:, :-1])
        log_p = np.asarray(jax.nn.log_softmax(logits))
        labels = group.sequences[:, 1:, None]
        plain = np.take_along_axis(log_p, labels, axis=2)[..., 0]
        np.testing.assert_allclose(found.log_p, plain, atol=2e-5)
        assert (found.predicted == logits.argmax(axis=2)).all()
        others = logits.copy()
        np.put_along_axis(others, labels, -np.inf, axis=2)
        margin = np.take_along_axis(logits, labels, axis=2)[..., 0] - others.max(axis=2)
        np.testing.assert_allclose(found.margin, margin, atol=2e-4)


def test_every_metric_of_a_point(rows: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    evals, items = rows
    assert set(EVAL_COLUMNS) - {"run_id", "point_id", "n_tokens"} == set(evals.columns)
    assert set(ITEM_COLUMNS) - {"run_id", "point_id", "n_tokens"} == set(items.columns)
    answered = evals[evals.metric == "exact_match"]
    assert set(answered.task) == {"addition", "digit_sum", "copy", "recall", "functions"}
    assert set(evals.metric) == {
        "exact_match", "position_accuracy", "position_accuracy_product", "p_answer", "nll_per_token",
        "margin", "multiple_choice_grade", "brier", "edit_distance", "loss_at_position",
        "icl_score", "icl_early_loss",
        "icl_late_loss", "repeated_sequence_score", "kl_model", "kl_uniform", "kl_unigram", "kl_bigram_bayes",
        "prefix_matching_score",
    }  # fmt: skip
    assert not evals.duplicated(["task", "length", "n_shot", "metric"]).any()
    by_metric = evals.set_index(["metric", "task", "length", "n_shot"]).value
    assert by_metric["icl_score", "text", SEQ_LEN, 0] == pytest.approx(
        by_metric["icl_late_loss", "text", SEQ_LEN, 0] - by_metric["icl_early_loss", "text", SEQ_LEN, 0]
    )
    own = items[(items.task == "addition") & (items.length == 1) & (items.n_shot == 0)]
    hits = np.stack([own.hits.to_numpy() >> place & 1 for place in range(2)], axis=1)
    for metric, expected in (
        ("exact_match", hits.all(axis=1).mean()),
        ("position_accuracy", hits.mean()),
        ("position_accuracy_product", hits.mean(axis=0).prod()),
        ("p_answer", np.exp(own.log_p_answer).mean()),
        ("nll_per_token", -own.log_p_answer.mean() / 2),
    ):
        assert by_metric[metric, "addition", 1, 0] == pytest.approx(expected)
    assert (own.exact_match == (own.margin > 0)).all()


def test_chains_are_scored_against_the_true_next_state(trained: Trained) -> None:
    chains = trained.tasks.items.chains
    assert chains is not None
    found = {r["metric"]: r for r in in_context.chain_rows(trained.engine, trained.params, chains)}
    own = distributions(trained.engine, trained.params, chains.sequences, chains.tokens)
    expected = np.exp(np.asarray(jax.nn.log_softmax(logits_of(trained, chains.sequences))))[
        ..., chains.tokens
    ]
    np.testing.assert_allclose(own, expected, atol=1e-5)
    late = markov.divergence(markov.true_rows(chains.states, chains.matrices), expected[:, 2:])[:, 50:]
    assert found["kl_model"]["value"] == pytest.approx(late.mean(), rel=1e-3)
    assert found["kl_model"]["n_items"] == N_ITEMS // 2


def test_prefix_matching_looks_at_what_followed(trained: Trained) -> None:
    weights = np.zeros((2, 8, 8))
    for query in range(4, 8):
        weights[0, query, query - 3] = 1.0
        weights[1, query, query] = 1.0
    assert in_context.prefix_share(jnp.asarray(weights), 4).tolist() == [1.0, 0.0]
    q, k, v = (jax.random.normal(jax.random.key(i), (3, 4, 7)) for i in range(3))
    found: list[Any] = []
    watched = in_context._watched(q, k, v, found)
    np.testing.assert_allclose(watched, attention(q, k, v), atol=1e-5)
    np.testing.assert_allclose(found[0].sum(axis=-1), 1.0, atol=1e-5)
    layers = list(in_context.prefix_rows(trained.engine, trained.params, trained.tasks.repeated))
    assert [row["length"] for row in layers] == [1, 2]
    assert all(0 <= row["value"] <= 1 for row in layers)


def inputs(corpus_folder: Path, stop_after: int | None = None) -> TrainInputs:
    corpus = mixed_corpus(corpus_folder)
    windows = eval_windows(corpus.eval, SEQ_LEN, 10 * SEQ_LEN)
    scored = EvalSet.build(windows, corpus.token_bytes)
    asked = iter(range(1_000))
    return TrainInputs(
        tokens=corpus.train,
        eval_set=scored,
        curve_eval_set=scored,
        mesh=make_mesh(MeshConfig()),
        execution=recipes.DEFAULTS,
        checkpoint_seconds=1e9,
        should_stop=lambda: stop_after is not None and next(asked) >= stop_after,
        tasks=TaskEvaluation.build(TASK_CONFIGS, 8, corpus, windows),
    )


def parts(folder: Path) -> dict[str, bytes]:
    return {
        p.name + p.parent.name: p.read_bytes()
        for kind in ("evals", "items")
        for p in (folder / kind).iterdir()
    }


def test_a_run_cut_off_and_resumed_leaves_the_same_bytes(data_cache: Path, tmp_path: Path) -> None:
    spec = run_spec()
    raster = spec.batch_tokens * spec.log_interval
    job = Job(spec, (8 * raster, 16 * raster))
    assert train_job(job, RunFolder(tmp_path / "whole"), inputs(data_cache)) == "done"
    with pytest.raises(Interrupted):
        train_job(job, RunFolder(tmp_path / "cut"), inputs(data_cache, stop_after=9))
    assert train_job(job, RunFolder(tmp_path / "cut"), inputs(data_cache)) == "done"
    whole = parts(tmp_path / "whole")
    assert whole == parts(tmp_path / "cut")
    assert len(whole) == 2 * 2 + 4
    folder = RunFolder(tmp_path / "whole")
    step = pd.read_parquet(folder.step_evals(4 * raster))
    assert step.point_id.isna().all()
    assert set(step.n_tokens) == {4 * raster}
    point = spec.point_id(8 * raster)
    assert set(pd.read_parquet(folder.point_items(point)).point_id) == {point}


def test_tasks_are_asked_at_doublings() -> None:
    interval = 16
    steps = [step for step in range(interval, 4096 * 4 // 5 + 1, interval) if is_task_step(step, interval)]
    assert steps == [interval * 2**power for power in range(8)]


def test_items_are_part_of_the_identity_only_where_there_are_any() -> None:
    spec = run_spec()
    asked = replace(spec, data=replace(spec.data, task_items=8))
    assert replace(spec, data=replace(spec.data, task_items=0)).run_id == spec.run_id
    assert asked.run_id != spec.run_id
