"""Tokenisation of many documents on every core of this machine."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise

import numpy as np
from jaxtyping import UInt

from harness.data.text.file_tokenizer import AnyTokenizer, FileTokenizer
from harness.data.text.tokenizer import Tokenizer
from harness.records.provenance import usable_cores

# Starting another process for less text than this costs more than it saves.
CHARACTERS_PER_PROCESS = 16_000_000
MAX_PROCESSES = 8


def encode_documents(
    tokenizer: AnyTokenizer, texts: list[str], share: int = CHARACTERS_PER_PROCESS
) -> UInt[np.ndarray, "tokens"]:
    """Return the tokens of `tokenizer.encode`, made by several processes if there is much text.

    Args:
        tokenizer: encodes the texts.
        texts: documents.
        share: characters for which another process pays.
    """
    total = sum(map(len, texts))
    parts = min(total // share, len(usable_cores()), MAX_PROCESSES)
    # Tokenizers of files spread a batch over the cores by themselves.
    if parts < 2 or isinstance(tokenizer, FileTokenizer):
        return tokenizer.encode(texts)
    # Spawned, because a fork copies the locks of the caller's other threads, held or not.
    with ProcessPoolExecutor(parts, multiprocessing.get_context("spawn")) as pool:
        return np.concatenate(list(pool.map(partial(Tokenizer.encode, tokenizer), _slices(texts, parts))))


def _slices(texts: list[str], parts: int) -> list[list[str]]:
    """Cut `texts` into consecutive slices of about equally many characters."""
    ends = np.cumsum([len(text) for text in texts])
    bounds = np.searchsorted(ends, ends[-1] * np.arange(parts + 1) / parts)
    bounds[-1] = len(texts)
    return [texts[first:last] for first, last in pairwise(bounds)]
