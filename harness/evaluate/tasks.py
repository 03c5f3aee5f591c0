"""Task and in-context evaluation of one model: its rows of evals.parquet and items.parquet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.data.corpus import Corpus
from harness.data.tasks.documents import TASKS
from harness.data.tasks.items import Group, TaskItems, task_items
from harness.data.tasks.mixture import TaskConfig
from harness.data.text.tokenizer import Tokenizer
from harness.engine.step import Engine
from harness.evaluate import in_context
from harness.evaluate.decoding import edit_distance, greedy_answers
from harness.evaluate.task_metrics import Row, answer_rows, choice_rows, item_rows, row
from harness.evaluate.token_scores import Scores, score

# Decoding is slow: the edit distance takes N_DECODED of every OUT_OF items, and N_DECODED at most.
N_DECODED, OUT_OF = 256, 1000


@dataclass(frozen=True)
class TaskEvaluation:
    """Test material that every run of a sweep is scored on.

    Attributes:
        items: test items of all tasks.
        windows: held-out text [windows, seq_len + 1].
        repeated: sequences of random tokens, each holding its tokens twice.
    """

    items: TaskItems
    windows: np.ndarray
    repeated: np.ndarray

    @classmethod
    def build(
        cls, tasks: tuple[TaskConfig, ...], n_items: int, corpus: Corpus, windows: np.ndarray
    ) -> TaskEvaluation:
        """Make the test material from the tasks of a corpus.

        Args:
            tasks: the tasks that are mixed into the corpus.
            n_items: test items per task and length.
            corpus: source of the tokenizer; it must be text.
            windows: windows [windows, seq_len + 1] of the evaluation text.
        """
        assert isinstance(corpus.tokenizer, Tokenizer)
        seq_len = windows.shape[1] - 1
        return cls(
            task_items(tasks, n_items, corpus.tokenizer, seq_len),
            windows,
            # The last ids are tags and the separator, which text does not contain.
            in_context.repeated_sequences(seq_len, corpus.tokenizer.separator - len(TASKS)),
        )

    def on_the_way(self, engine: Engine, params: Any) -> list[Row]:
        """Return rows of evals.parquet for a step before the end: fewer items, no demonstrations."""
        groups = self.items.early()
        answers = _answers(engine, params, groups)
        return [
            _of(group) | own
            for group, answer in answers
            for own in answer_rows(group, answer, _hits(group, answer))
        ]

    def at_the_end(self, engine: Engine, params: Any) -> tuple[list[Row], list[Row]]:
        """Return the rows of evals.parquet and the rows of items.parquet of an end point."""
        rows: list[Row] = []
        items: list[Row] = []
        answers = _answers(engine, params, self.items.groups)
        for group, answer in answers:
            hits = _hits(group, answer)
            rows += [_of(group) | own for own in answer_rows(group, answer, hits)]
            items += item_rows(group, answer, hits)
        rows += _choices(engine, params, answers)
        rows += _edit_distances(engine, params, answers)
        rows += in_context.text_rows(engine, params, self.windows)
        rows += in_context.repeated_rows(engine, params, self.repeated)
        rows += in_context.prefix_rows(engine, params, self.repeated)
        if self.items.chains:
            rows += in_context.chain_rows(engine, params, self.items.chains)
        return rows, items


def _of(group: Group) -> Row:
    """Return the columns that name a group of items."""
    return {"task": group.task, "length": group.length, "n_shot": group.n_shot, "split": group.split}


def _answers(engine: Engine, params: Any, groups: Sequence[Group]) -> list[tuple[Group, Scores]]:
    """Score the right answers with teacher forcing; sequences that groups share are scored once."""
    # By identity: groups with 1, 2, 4 … demonstrations hold the same array, and arrays have no hash.
    sequences = {id(group.sequences): group.sequences for group in groups}
    found = dict(zip(sequences, score(engine, params, list(sequences.values())), strict=True))
    # Column i of the scores belongs to token i + 1.
    return [(g, found[id(g.sequences)].part(g.end - 1 - g.n_positions, g.end - 1)) for g in groups]


def _hits(group: Group, answer: Scores) -> np.ndarray:
    """Return whether the greedy choice is the right token [items, positions]."""
    return np.asarray(answer.predicted == group.right)


def _choices(engine: Engine, params: Any, answers: list[tuple[Group, Scores]]) -> Iterator[Row]:
    """Yield multiple-choice metrics of the groups that have distractors."""
    asked = [(group, answer) for group, answer in answers if len(group.wrong)]
    found = score(engine, params, [_with_wrong(group) for group, _ in asked])
    for (group, answer), scores in zip(asked, found, strict=True):
        some, n_wrong = group.wrong.shape[:2]
        wrong = scores.log_p[:, -group.n_positions :].sum(axis=1).reshape(some, n_wrong)
        yield from (_of(group) | own for own in choice_rows(answer.log_p[:some].sum(axis=1), wrong))


def _with_wrong(group: Group) -> np.ndarray:
    """Return the sequences of the first items with each distractor in place of the right answer."""
    some, n_wrong, n_positions = group.wrong.shape
    contexts = np.repeat(group.sequences[:some, :-n_positions], n_wrong, axis=0)
    return np.concatenate([contexts, group.wrong.reshape(-1, n_positions)], axis=1)


def _edit_distances(engine: Engine, params: Any, answers: list[tuple[Group, Scores]]) -> Iterator[Row]:
    """Yield the mean edit distance in tokens between right answers and greedily decoded ones.

    References: Schaeffer et al., arXiv:2304.15004, section 3 (a smooth alternative to exact match).
    """
    asked = [(group, answer) for group, answer in answers if group.n_shot == 0]
    counts = [min(N_DECODED, math.ceil(len(group.sequences) * N_DECODED / OUT_OF)) for group, _ in asked]
    sequences = [group.sequences[:n] for (group, _), n in zip(asked, counts, strict=True)]
    guesses = [answer.predicted[:n] for (_, answer), n in zip(asked, counts, strict=True)]
    written = greedy_answers(engine, params, sequences, guesses)
    for (group, _), shown, own in zip(asked, sequences, written, strict=True):
        right = shown[:, -group.n_positions :]
        distances = [edit_distance(*pair) for pair in zip(right.tolist(), own.tolist(), strict=True)]
        yield _of(group) | row("edit_distance", np.array(distances, float))
