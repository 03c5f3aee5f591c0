"""Sampling from a decoder: one token after the other, with a KV cache in dense models.

A model with experts has no step for a single token, because the capacity of an expert is counted over a whole
sequence. There each token takes a pass over the whole context.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from harness.model.decoder import Decoder, nothing_kept
from harness.recipe.spec import ModelSpec
from harness.records.errors import InputError

Logits = Float[np.ndarray, "vocab"]


def padded_logits(spec: ModelSpec, decoder: Decoder) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from token ids [batch, seq] to logits [batch, seq, vocab], fp32 on the host.

    With experts the input is padded to the model's context, which sets the capacity of an expert. Without it
    a token's logits would depend on how many tokens follow.
    """
    graph, state = nnx.split(decoder)
    program = jax.jit(lambda state, tokens: nnx.merge(graph, state)(tokens))

    def logits(tokens: np.ndarray) -> np.ndarray:
        length = tokens.shape[1]
        width = spec.seq_len if spec.n_experts > 1 else length
        padded = np.pad(tokens, ((0, 0), (0, width - length))).astype(np.int32)
        return np.asarray(program(state, padded))[:, :length]

    return logits


class CachedReader:
    """Reads one sequence token by token into the KV cache of a dense model.

    Args:
        spec: shape of the model.
        decoder: the model.
    """

    def __init__(self, spec: ModelSpec, decoder: Decoder):
        self._spec = spec
        graph, self._state = nnx.split(decoder)

        def step(state: Any, token: Int[Array, ""], kept: Any, at: Int[Array, ""]) -> tuple[Array, Any]:
            decoder = nnx.merge(graph, state)
            x, after = decoder.embedded(token[None, None]), []
            for block, own in zip(decoder.blocks, kept, strict=True):
                x, own = block.after(x, own, at)
                after.append(own)
            return decoder.logits(x)[0], after

        self._step = jax.jit(step)
        self._read: list[int] = []
        self._kept: Any = None
        self._logits: Any = None

    def logits(self, context: Sequence[int]) -> Logits:
        """Return the logits after a context, which reads only what was not read before."""
        # The cache holds a beginning of the context, or else is of no use.
        if self._kept is None or self._read != list(context[: len(self._read)]):
            self._kept = [
                nothing_kept(self._spec, 1, self._spec.seq_len, self._spec.window_of(layer))
                for layer in range(self._spec.n_layers)
            ]
            self._read = []
        for token in context[len(self._read) :]:
            at = jnp.int32(len(self._read))
            self._logits, self._kept = self._step(self._state, jnp.int32(token), self._kept, at)
            self._read.append(token)
        return np.asarray(self._logits)


class WholeReader:
    """Reads the whole context for every token, for models with experts.

    Args:
        spec: shape of the model.
        decoder: the model.
    """

    def __init__(self, spec: ModelSpec, decoder: Decoder):
        self._of = padded_logits(spec, decoder)

    def logits(self, context: Sequence[int]) -> Logits:
        """Return the logits after a context."""
        found: Logits = self._of(np.asarray(context)[None])[0, -1]
        return found


def sample_tokens(
    spec: ModelSpec,
    decoder: Decoder,
    prompt: Sequence[int],
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[int]:
    """Yield token after token, without end.

    If the context is full, the model goes on from the latter half of it.

    Args:
        spec: shape of the model.
        decoder: the model.
        prompt: token ids to go on from, at least one.
        temperature: divides the logits; 0 takes the likeliest token.
        top_p: the token is drawn from the likeliest ones that together have this probability.
        seed: seed of the draws.

    Raises:
        InputError: a number is out of its range.

    References:
        top_p: nucleus sampling, Holtzman et al., arXiv:1904.09751, section 3.1.
    """
    if not 0 <= temperature < np.inf:
        raise InputError(
            f"a temperature of at least 0 was expected and {temperature:g} came; type 0.8", "temperature"
        )
    if not 0 < top_p <= 1:
        raise InputError(f"a share above 0 and up to 1 was expected and {top_p:g} came; type 0.95", "top_p")
    if seed < 0:
        raise InputError(f"a seed of at least 0 was expected and {seed} came; type 0", "seed")
    return _drawn(spec, decoder, list(prompt), temperature, top_p, np.random.default_rng(seed))


def _drawn(
    spec: ModelSpec,
    decoder: Decoder,
    context: list[int],
    temperature: float,
    top_p: float,
    rng: np.random.Generator,
) -> Iterator[int]:
    reader = CachedReader(spec, decoder) if spec.n_experts == 1 else WholeReader(spec, decoder)
    while True:
        if len(context) > spec.seq_len:
            context = context[-max(1, spec.seq_len // 2) :]
        token = draw(reader.logits(context), temperature, top_p, rng)
        context.append(token)
        yield token


def draw(logits: Logits, temperature: float, top_p: float, rng: np.random.Generator) -> int:
    """Return a token drawn from logits [vocab]; see `sample_tokens`.

    >>> draw(np.array([0.0, 2.0, 1.0]), 0, 1, np.random.default_rng(0))
    1
    >>> {draw(np.array([0.0, 9.0, 9.0]), 1, 0.9, np.random.default_rng(seed)) for seed in range(9)}
    {1, 2}
    """
    if temperature == 0:
        return int(logits.argmax())
    scaled = (logits.astype(np.float64) - logits.max()) / temperature
    likeliest = np.argsort(-scaled, kind="stable")
    share = np.exp(scaled[likeliest])
    share /= share.sum()
    # The token that reaches top_p is one of them; rounding must not leave out all.
    n = min(int(np.searchsorted(share.cumsum(), top_p)) + 1, len(share))
    drawn = np.searchsorted(share[:n].cumsum(), rng.random() * share[:n].sum(), side="right")
    return int(likeliest[min(int(drawn), n - 1)])


def streamed_text(
    pieces: Sequence[bytes], separator: int, tokens: Iterator[int], n_tokens: int
) -> Iterator[str]:
    """Yield the text of up to `n_tokens` tokens as they come; it ends with the document.

    A character of several tokens comes whole. Bytes that are no UTF-8 become U+FFFD.

    Args:
        pieces: bytes of every token; an id beyond them has none.
        separator: id of the document separator.
        tokens: the tokens.
        n_tokens: largest number of tokens.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for _, token in zip(range(n_tokens), tokens, strict=False):
        if token == separator:
            break
        text = decoder.decode(pieces[token] if token < len(pieces) else b"")
        if text:
            yield text
    rest = decoder.decode(b"", final=True)
    if rest:
        yield rest
