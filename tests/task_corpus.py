"""A small corpus of text and tasks."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from harness.data.build import DataConfig
from harness.data.corpus import Corpus
from harness.data.prepare import prepare_corpus
from harness.data.tasks.documents import TASKS
from harness.data.tasks.mixture import TaskConfig
from harness.data.text.tokenizer import Tokenizer, train_tokenizer

VOCAB = 300
TASK_CONFIGS = (
    TaskConfig("addition", 0.1, (1, 2)),
    TaskConfig("digit_sum", 0.1, (2,)),
    TaskConfig("copy", 0.1, (4,)),
    TaskConfig("recall", 0.1, (2, 4)),
    TaskConfig("functions", 0.05, (2,)),
    TaskConfig("markov", 0.05, (4,)),
)


@cache
def tokenizer() -> Tokenizer:
    texts = [article(np.random.default_rng(n)) for n in range(20)]
    return train_tokenizer("bpe", texts, VOCAB, len(TASKS))


def article(rng: np.random.Generator, n_words: int = 300) -> str:
    return " ".join(f"word{number}" for number in rng.integers(0, 3_000, n_words)) + "\n"


def texts(folder: Path) -> Path:
    """A folder with articles in one file."""
    path = folder / "texts"
    if not path.exists():
        path.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for number in range(150):
            (path / f"{number:03d}.txt").write_text(article(rng))
    return path


def data_config(folder: Path, tasks: tuple[TaskConfig, ...] = TASK_CONFIGS) -> DataConfig:
    return DataConfig(
        "text", VOCAB, path=str(texts(folder)), eval_fraction=0.1, min_eval_tokens=2_000, tasks=tasks
    )


def mixed_corpus(folder: Path, tasks: tuple[TaskConfig, ...] = TASK_CONFIGS) -> Corpus:
    return prepare_corpus(data_config(folder, tasks), folder)
