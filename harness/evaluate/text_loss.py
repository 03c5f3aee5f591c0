"""Loss of a trained model on any text, scored as the evaluation set of its sweep is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.text.corpora import TEXT_SUFFIXES, SourceFile
from harness.data.text.document import Document, Unusable
from harness.data.text.read import read_text
from harness.data.tokens.windows import eval_windows
from harness.engine.step import Engine
from harness.evaluate.loss import window_losses
from harness.evaluate.token_scores import score
from harness.records.errors import InputError

# Files with a document in each record; any other file is one document.
OF_RECORDS = tuple(suffix for suffix in TEXT_SUFFIXES if suffix != ".txt")


@dataclass(frozen=True)
class TextLoss:
    """Loss on a text.

    Attributes:
        loss: mean over all targets, nats per token.
        bits_per_byte: total loss in bits over the bytes of the targets, comparable between tokenizers.
        n_tokens: number of targets.
        n_bytes: bytes of the targets.
    """

    loss: float
    bits_per_byte: float
    n_tokens: int
    n_bytes: int


def read_documents(path: Path, text_field: str) -> tuple[list[str], int]:
    """Return the documents of a text file as they are, and the number of records that hold no text.

    Args:
        path: JSON lines or parquet with a document in each record, or any file in UTF-8 as one document.
        text_field: field or column that holds the text.

    Raises:
        InputError: the file cannot be read, is no text, or holds no document.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder, expected a file of text; give one of its files", "data")
    if not path.exists():
        raise InputError(f"{path} does not exist, expected a file of text; give the path of one", "data")
    if path.name.lower().endswith(OF_RECORDS):
        status = path.stat()
        file = SourceFile(path.name, str(path), status.st_size, status.st_mtime_ns)
        records = list(read_text([file], text_field))
        texts = [each.text for each in records if isinstance(each, Document) and is_text(each.text)]
        unusable = [each for each in records if isinstance(each, Unusable)]
        if not texts:
            why = f" ({unusable[0].reason}: {unusable[0].detail})" if unusable else ""
            raise InputError(f"{path} holds no document{why}; name the field of its texts", "text_field")
        return texts, len(records) - len(texts)
    try:
        return [path.read_bytes().decode("utf-8")], 0
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is no UTF-8 at byte {error.start}, expected a file of text; save it as UTF-8", "data"
        ) from error


def is_text(text: str) -> bool:
    """Return whether a text holds no bytes that are no UTF-8, and no half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_loss(
    engine: Engine, params: Any, tokens: np.ndarray, token_bytes: np.ndarray, n_tokens: int | None = None
) -> TextLoss:
    """Return the loss on a text: every token but the first is a target.

    The text is cut into windows as an evaluation set is, so a token sees at most the tokens of its window.

    Args:
        engine: engine of the model.
        params: parameters, with one subtree per block.
        tokens: the text [n], documents followed by separators.
        token_bytes: bytes of each token [vocab].
        n_tokens: targets in whole windows spread evenly over the text, as in a sweep; None scores all.

    Raises:
        InputError: the text is too short, or holds no bytes.
    """
    seq_len = engine.model.seq_len
    chosen = (len(tokens) - 1) // seq_len * seq_len if n_tokens is None else n_tokens
    nats, scored = 0.0, []
    if chosen or n_tokens is not None:
        windows = eval_windows(tokens, seq_len, chosen)
        nats += float(window_losses(engine, params, windows).sum()) * seq_len
        scored.append(windows[:, 1:])
    if n_tokens is None and chosen < len(tokens) - 1:
        rest = np.asarray(tokens[chosen:], np.int32)[None]
        nats -= float(score(engine, params, [rest])[0].log_p.sum(dtype=np.float64))
        scored.append(rest[:, 1:])
    targets = np.concatenate([part.ravel() for part in scored]) if scored else np.zeros(0, np.int32)
    n_bytes = int(token_bytes[targets].sum())
    if n_bytes <= 0:
        raise InputError("the text has no token after its first one, expected two or more; give more text")
    loss = nats / len(targets)
    return TextLoss(loss, nats / (math.log(2) * n_bytes), len(targets), n_bytes)
