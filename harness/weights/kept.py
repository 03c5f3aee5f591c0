"""The kept parameters of an end point: one file that holds model, recipe, loss and tokenizer.

The file needs nothing beside it, neither the folder of its run nor the prepared corpus.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from harness.data.text.file_tokenizer import AnyTokenizer, FileTokenizer
from harness.data.text.tokenizer import Tokenizer
from harness.model.decoder import Decoder
from harness.recipe.spec import ModelSpec, RunSpec
from harness.records.errors import Damaged
from harness.records.json_files import current, from_json, to_json
from harness.weights.tensor_file import read_tensors, read_texts, write_tensors

Params = dict[Any, Any]
# Kinds of tokenizer in a card: trained on the corpus, or taken from a file.
KINDS: dict[str, type[AnyTokenizer]] = {"trained": Tokenizer, "file": FileTokenizer}

CARD, CARD_SCHEMA = "card", 1
STORED = {"fp32": np.dtype(np.float32), "bf16": np.dtype(jnp.bfloat16)}


@dataclass(frozen=True)
class Keep:
    """Which end points of a sweep keep their parameters, and how.

    Attributes:
        point_ids: the end points.
        precision: `fp32` or `bf16`, of the stored parameters.
        tokenizer: tokenizer of the corpus; None for synthetic data and bare tokens.
    """

    point_ids: frozenset[str]
    precision: str
    tokenizer: AnyTokenizer | None


@dataclass(frozen=True, kw_only=True)
class Card:
    """Description of a kept model, which stands in its file as JSON.

    Attributes:
        schema: version of the keys.
        run_id: the run.
        point_id: the end point.
        n_tokens: training tokens.
        loss: loss on the sweep's evaluation set, nats per token.
        bits_per_byte: the same in bits per byte; None if the bytes of the tokens are unknown.
        precision: `fp32` or `bf16`, of the stored parameters.
        spec: recipe of the run.
        tokenizer: fields of the tokenizer and its `kind`; None for synthetic data and bare tokens.
    """

    schema: int = CARD_SCHEMA
    run_id: str
    point_id: str
    n_tokens: int
    loss: float
    bits_per_byte: float | None
    precision: str
    spec: dict[str, Any]
    tokenizer: dict[str, Any] | None

    @classmethod
    def of(cls, spec: RunSpec, n_tokens: int, loss: float, bits_per_byte: float | None, keep: Keep) -> Card:
        """Return the card of an end point that was just evaluated."""
        return cls(
            run_id=spec.run_id,
            point_id=spec.point_id(n_tokens),
            n_tokens=n_tokens,
            loss=loss,
            bits_per_byte=bits_per_byte,
            precision=keep.precision,
            spec=spec.to_dict(),
            tokenizer=None if keep.tokenizer is None else _fields(keep.tokenizer),
        )


def write_kept(path: Path, card: Card, params: Params) -> None:
    """Write the parameters of an end point.

    Args:
        path: the file.
        card: description of the model.
        params: host arrays, fp32, with one subtree per block.
    """
    dtype = STORED[card.precision]
    arrays = {name: np.asarray(leaf, dtype) for name, leaf in named(params)}
    write_tensors(path, arrays, {CARD: json.dumps(to_json(card))})


def read_card(path: Path) -> Card:
    """Return the description of a kept model without reading its parameters.

    Raises:
        Damaged: there is no such file, or it holds no kept model.
        InputError: it was written by a newer version.
    """
    return _card(path, read_texts(path))


def check_kept(path: Path) -> None:
    """Raise Damaged unless a file holds the parameters of its end point as they were written."""
    check_place(path, _card(path, read_tensors(path)[1]))


def check_place(path: Path, card: Card) -> None:
    """Raise Damaged if a file that is named after an end point holds another one."""
    if card.point_id != path.stem:
        raise Damaged(path, f"it is of another end point, {card.point_id}")


@dataclass(frozen=True)
class Kept:
    """A kept model.

    Attributes:
        card: its description.
        spec: recipe of the run.
        params: parameters as host arrays, fp32, with one subtree per block.
        tokenizer: tokenizer of the corpus; None for synthetic data and bare tokens.
    """

    card: Card
    spec: RunSpec
    params: Params
    tokenizer: AnyTokenizer | None


def read_kept(path: Path) -> Kept:
    """Return a kept model.

    Raises:
        Damaged: there is no such file, it holds no kept model, or it has other content than was written.
        InputError: it was written by a newer version.
    """
    arrays, texts = read_tensors(path)
    card = _card(path, texts)
    try:
        spec = RunSpec.from_dict(card.spec)
        run_id = spec.run_id
        expected = shapes(spec.model)
        tokenizer = None if card.tokenizer is None else _tokenizer(card.tokenizer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Damaged(path, "its recipe or tokenizer is of another version") from error
    if tokenizer is not None and tokenizer.vocab_size > spec.model.vocab_size:
        raise Damaged(
            path, f"its tokenizer has {tokenizer.vocab_size} tokens, its model {spec.model.vocab_size}"
        )
    if tokenizer is not None:
        _check_pieces(path, tokenizer)
    for name in sorted(arrays.keys() | expected.keys()):
        found = arrays[name].shape if name in arrays else "nothing"
        if found != expected.get(name, "nothing"):
            raise Damaged(
                path, f"{name} is {found}, and its recipe has {expected.get(name, 'nothing')} there"
            )
    if run_id != card.run_id:
        raise Damaged(path, f"its recipe is that of run {run_id}, and not of run {card.run_id}")
    params = nested({name: array.astype(np.float32) for name, array in arrays.items()})
    return Kept(card, spec, params, tokenizer)


def _fields(tokenizer: AnyTokenizer) -> dict[str, Any]:
    kind = next(name for name, kind in KINDS.items() if type(tokenizer) is kind)
    return {"kind": kind} | asdict(tokenizer)


def _tokenizer(fields: Mapping[str, Any]) -> AnyTokenizer:
    values = dict(fields)
    return from_json(values, KINDS[values.pop("kind")], "its tokenizer")


def _check_pieces(path: Path, tokenizer: AnyTokenizer) -> None:
    """Raise Damaged if the tokens of a tokenizer cannot be made."""
    try:
        n_pieces = len(tokenizer.pieces)
    except Exception as error:  # The library of tokenizers raises no other kind.
        raise Damaged(path, f"its tokenizer is none: {error}") from error
    if n_pieces != tokenizer.vocab_size:
        raise Damaged(path, f"its tokenizer has {n_pieces} tokens, expected {tokenizer.vocab_size}")


def _card(path: Path, texts: Mapping[str, str]) -> Card:
    """Return the card among the texts of a file."""
    if CARD not in texts:
        raise Damaged(path, "it holds no model of this program")
    try:
        value = json.loads(texts[CARD])
    except (ValueError, RecursionError) as error:
        raise Damaged(path, f"its card is no JSON: {error}") from error
    return from_json(current(value, str(path), CARD_SCHEMA, {}), Card, str(path))


@cache
def shapes(model: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of a model, by name."""
    _, state = nnx.split(nnx.eval_shape(lambda: Decoder(model, nnx.Rngs(0))))
    return {name: tuple(leaf.shape) for name, leaf in named(nnx.to_pure_dict(state))}


def named(params: Params, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every parameter with its name, such as `blocks.0.attention.qkv.kernel`."""
    for key, part in params.items():
        if isinstance(part, dict):
            yield from named(part, f"{above}{key}.")
        else:
            yield f"{above}{key}", part


def nested(arrays: Mapping[str, np.ndarray]) -> Params:
    """Return parameters as a tree: the inverse of `named`."""
    tree: Params = {}
    for name, array in arrays.items():
        *above, last = [int(part) if part.isdigit() else part for part in name.split(".")]
        inside = tree
        for part in above:
            inside = inside.setdefault(part, {})
        inside[last] = array
    return tree
