"""A prepared corpus: tokens to train on, tokens to score, and their description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt

from harness.data.text.file_tokenizer import AnyTokenizer
from harness.data.tokens.mixture import Mixture, MixtureOrder
from harness.data.tokens.stream import TokenStream
from harness.recipe.spec import DataSpec
from harness.records.errors import InputError


@dataclass(frozen=True)
class Part:
    """A source of a mixture, as it is trained on and scored.

    Attributes:
        name: name of the source.
        weight: share of the training tokens; 0 for a source that is only scored.
        max_epochs: how often a run may read it; None leaves that to the sweep.
        eval: its tokens to score.
    """

    name: str
    weight: float
    max_epochs: float | None
    eval: UInt[np.ndarray, "eval"]


@dataclass(frozen=True)
class Corpus:
    """Tokens to train on and tokens to score, mapped from disk, with their description.

    Attributes:
        corpus_id: hash of the content.
        tokenizer_id: hash of the tokenizer; `symbols` for synthetic data, `unknown` for bare tokens.
        vocab_size: number of token ids, the separator included.
        train: tokens to train on.
        eval: tokens to score; those of a mixture lie one source behind the other.
        token_bytes: bytes of text that each token stands for; 0 for the separator, 1 for a synthetic symbol.
            None if the tokenizer is unknown.
        n_train_tokens: length of `train`, task documents included.
        n_train_bytes: bytes of the training text, task documents left out; None if they were not counted.
        n_eval_tokens: length of `eval`.
        n_documents: documents of the training text, task documents left out; None if unknown.
        entropy_rate: exact entropy rate in nats per token; None for text.
        unigram_nats: loss of a unigram model, see `unigram_loss`.
        report: counts after every step of the preparation.
        tokenizer: turns tokens back into text; None for synthetic data and bare tokens.
        parts: the sources of a mixture.
    """

    corpus_id: str
    tokenizer_id: str
    vocab_size: int
    train: UInt[np.ndarray, "train"] | TokenStream | Mixture
    eval: UInt[np.ndarray, "eval"]
    token_bytes: Int64[np.ndarray, "vocab"] | None
    n_train_tokens: int
    n_train_bytes: int | None
    n_eval_tokens: int
    n_documents: int | None
    entropy_rate: float | None
    unigram_nats: float
    report: dict[str, Any]
    tokenizer: AnyTokenizer | None = None
    parts: tuple[Part, ...] = ()

    def spec(self, eval_tokens: int, curve_eval_tokens: int, task_items: int = 0) -> DataSpec:
        """Return the part of a run's recipe that names its data.

        Args:
            eval_tokens: tokens scored at end points.
            curve_eval_tokens: tokens scored during training.
            task_items: test items per task and length.
        """
        return DataSpec(
            self.corpus_id,
            self.tokenizer_id,
            self.unigram_nats,
            eval_tokens,
            curve_eval_tokens,
            task_items,
        )


def check_size(corpus: Corpus, n_tokens: int, max_epochs: float = 4.0, seq_len: int = 1) -> None:
    """Raise InputError if a run reads the training split, or that of a source, too often.

    Up to four epochs, repeated text is worth nearly as much as new text (Muennighoff et al.,
    arXiv:2305.16264, abstract). Beyond them, losses measure repetition too.

    Args:
        corpus: the corpus.
        n_tokens: tokens of the longest run.
        max_epochs: how often the run may read a token; a source of a mixture may have a limit of its own.
        seq_len: inputs per window.
    """
    if isinstance(corpus.train, Mixture):
        _check_parts(corpus, corpus.train, n_tokens, max_epochs, seq_len)
        return
    epochs = n_tokens / corpus.n_train_tokens
    if epochs > max_epochs:
        most = int(max_epochs * corpus.n_train_tokens)
        raise InputError(
            f"a run of {n_tokens:,} tokens reads the corpus's {corpus.n_train_tokens:,} training tokens "
            f"{epochs:.1f} times, at most {max_epochs:g} are allowed: lower the grid's token counts to "
            f"{most:,} or give more text"
        )


def _check_parts(corpus: Corpus, mixture: Mixture, n_tokens: int, max_epochs: float, seq_len: int) -> None:
    """Raise InputError if a run reads a source of a mixture too often."""
    epochs = MixtureOrder(mixture, seq_len, 1, 0).epochs(n_tokens)
    for part, stream in zip(corpus.parts, mixture.streams, strict=True):
        allowed = max_epochs if part.max_epochs is None else part.max_epochs
        found = epochs.get(part.name, 0.0)
        if found > allowed:
            raise InputError(
                f"a run of {n_tokens:,} tokens reads the {len(stream):,} training tokens of "
                f"data.sources.{part.name} {found:.1f} times, at most {allowed:g} are allowed: lower its "
                f"share from {part.weight:.3g} to {part.weight * allowed / found:.2g}, lower the grid's "
                f"token counts to {int(n_tokens * allowed / found):,}, or raise "
                f"data.sources.{part.name}.max_epochs"
            )


def mixture_note(corpus: Corpus, n_tokens: int, seq_len: int) -> list[str]:
    """Return a sentence on how often a run of `n_tokens` reads each source; none for other corpora."""
    if not isinstance(corpus.train, Mixture):
        return []
    epochs = MixtureOrder(corpus.train, seq_len, 1, 0).epochs(n_tokens)
    said = []
    for part, stream in zip(corpus.parts, corpus.train.streams, strict=True):
        if part.name in epochs:
            read = f"{len(stream):,} tokens read {epochs[part.name]:.2g} times"
            said.append(f"{part.name} {part.weight:.1%} ({read} by the longest run)")
        else:
            said.append(f"{part.name} is scored and never trained on")
    return [f"mixture: {', '.join(said)}"]
