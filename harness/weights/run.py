"""Trained models of a sweep, found by name and loaded to be used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float

from harness.model.decoder import Decoder
from harness.records.command_line import program_name
from harness.records.errors import Damaged, InputError, near
from harness.records.json_files import read_checked
from harness.records.paths import RunFolder, SweepFolder
from harness.records.sweep_file import find_sweep
from harness.weights.kept import AnyTokenizer, Card, Kept, check_place, read_card, read_kept
from harness.weights.sampling import padded_logits, sample_tokens, streamed_text

# A model in a folder of its own, as `harness.export` leaves it.
EXPORTED = "model.safetensors"
# Names that an error lists.
MAX_LISTED = 12


@dataclass(frozen=True, eq=False, repr=False)
class TrainedRun(Kept):
    """A trained model at one end point of its run.

    Attributes:
        card: which run and end point it is, and its loss.
        spec: recipe of the run; `spec.model` is the shape of the model.
        params: parameters as nested dicts of fp32 arrays, such as `params["blocks"][0]["attention"]`.
        tokenizer: tokenizer of the corpus; None for synthetic data and bare tokens.
    """

    def __repr__(self) -> str:
        card = self.card
        return (
            f"TrainedRun({self.spec.rung}, run {card.run_id}, {card.n_tokens:,} tokens, "
            f"loss {card.loss:.4g} nats per token)"
        )

    @cached_property
    def decoder(self) -> Decoder:
        """The model as a Flax module, whose parts can be called and looked into."""
        graph, state = nnx.split(nnx.eval_shape(lambda: Decoder(self.spec.model, nnx.Rngs(0))))
        nnx.replace_by_pure_dict(state, jax.tree.map(jax.numpy.asarray, self.params))
        decoder: Decoder = nnx.merge(graph, state)
        return decoder

    @cached_property
    def _logits(self) -> Any:
        return padded_logits(self.spec.model, self.decoder)

    def logits(self, tokens: Any) -> Float[np.ndarray, "... vocab"]:
        """Return the logits of the next token after every position.

        Args:
            tokens: token ids [seq] or [batch, seq], with at most `spec.model.seq_len` in a sequence.

        Returns:
            Logits as fp32, [seq, vocab] or [batch, seq, vocab].

        Raises:
            InputError: the ids are no whole numbers of the vocabulary, or a sequence is too long or empty.
        """
        ids, model = np.asarray(tokens), self.spec.model
        if ids.ndim not in (1, 2) or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer):
            raise InputError(
                f"token ids of shape [seq] or [batch, seq] were expected and {ids.dtype} of shape "
                f"{list(ids.shape)} came; tokenizer.encode makes such ids",
                "tokens",
            )
        if ids.shape[-1] > model.seq_len:
            raise InputError(
                f"{ids.shape[-1]} tokens came and the model's context has {model.seq_len}; give the last of "
                "them",
                "tokens",
            )
        if ids.min() < 0 or ids.max() >= model.vocab_size:
            raise InputError(
                f"token ids from 0 to {model.vocab_size - 1} were expected and {ids.min()} to {ids.max()} "
                "came; encode the text with this run's tokenizer",
                "tokens",
            )
        found: np.ndarray = self._logits(np.atleast_2d(ids))
        return found.reshape(*ids.shape, -1)

    def sample(
        self,
        prompt: str = "",
        *,
        n_tokens: int = 256,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Iterator[str]:
        """Yield pieces of text that go on from a prompt, until a document ends or `n_tokens` are drawn.

        Args:
            prompt: beginning of a document.
            n_tokens: largest number of tokens.
            temperature: divides the logits; 0 takes the likeliest token.
            top_p: each token is drawn from the likeliest ones that together have this probability.
            seed: seed of the draws.

        Raises:
            InputError: a number is out of its range, the prompt is no UTF-8, or the model reads no text.
        """
        tokenizer, separator = self.text_tokenizer()
        ids = tokenizer.encode([encodable(prompt)])
        # A document begins after a separator, as in training.
        document = [separator, *map(int, ids[:-1])]
        if n_tokens < 1:
            raise InputError(f"at least 1 token was expected and {n_tokens} came; type 256", "n_tokens")
        tokens = sample_tokens(
            self.spec.model, self.decoder, document, temperature=temperature, top_p=top_p, seed=seed
        )
        return streamed_text(tokenizer.pieces, separator, tokens, n_tokens)

    def text_tokenizer(self) -> tuple[AnyTokenizer, int]:
        """Return the tokenizer and its separator; raise InputError if the model has none for text."""
        if self.tokenizer is None:
            raise InputError(
                f"run {self.card.run_id} was trained on symbols or tokens without a tokenizer and knows no "
                "text; give a run of another corpus"
            )
        if self.tokenizer.separator is None:
            raise InputError(
                f"the tokenizer of run {self.card.run_id} has no token between documents; train with "
                "data.separator=ID, which names one"
            )
        return self.tokenizer, self.tokenizer.separator


def encodable(text: str) -> str:
    """Return a text that is whole UTF-8; raise InputError for half of a character or other bytes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the text is no UTF-8 at character {error.start}; save it as UTF-8 and give it again"
        ) from error
    return text


def load_run(folder: str | Path, run: str | None = None) -> TrainedRun:
    """Load a trained model of a sweep.

    Args:
        folder: folder of a sweep, such as results/chinchilla, or of an exported model.
        run: name of a rung, such as `d64`, or id of a run or of an end point. Of several end points the one
            with the most tokens is taken, and then the one with the lowest loss. None takes the end point
            with the lowest loss.

    Returns:
        The model with its parameters, recipe and tokenizer.

    Raises:
        InputError: the folder is none of a sweep, keeps no parameters, or none of this run.
        Damaged: the file has other content than was written.

    Examples:
        >>> import harness
        >>> run = harness.load_run("results/chinchilla", "d64")  # doctest: +SKIP
        >>> logits = run.logits(run.tokenizer.encode(["def "])[:-1])  # doctest: +SKIP
    """
    return TrainedRun(**vars(read_chosen(Path(folder), run)[1]))


def read_chosen(folder: Path, run: str | None = None) -> tuple[Path, Kept]:
    """Return the file and the model of a kept end point; arguments and errors are those of `load_run`."""
    path = find_kept(folder, run)
    try:
        return path, read_kept(path)
    except Damaged as error:
        raise Damaged(path, error.reason, _way_out(path)) from error


def find_kept(folder: Path, run: str | None = None) -> Path:
    """Return the file of a kept end point; arguments and errors are those of `load_run`."""
    alone = folder / EXPORTED
    paths = [alone] if alone.exists() else _of_sweep(SweepFolder(folder))
    cards, damaged = {}, []
    for path in paths:
        try:
            cards[path] = read_card(path)
            if path != alone:
                check_place(path, cards[path])
        except Damaged as error:
            cards.pop(path, None)
            damaged.append(error)
    # One that cannot be read may be the very one, or the best.
    rungs = _rungs(SweepFolder(folder)) if damaged else {}
    for each in damaged:
        names = (rungs.get(each.path.stem), each.path.parent.parent.name, each.path.stem)
        if run is None or run in names:
            raise Damaged(each.path, each.reason, _way_out(each.path)) from each
    found = [path for path, card in cards.items() if run is None or run in _names(card)]
    if run is None:
        found.sort(key=lambda path: cards[path].loss)
    else:
        found.sort(key=lambda path: (-cards[path].n_tokens, cards[path].loss))
    if found:
        return found[0]
    known = list(dict.fromkeys(name for card in cards.values() for name in _names(card)))
    sizes = list(dict.fromkeys(str(card.spec.get("rung")) for card in cards.values()))
    raise InputError(
        f"{folder} keeps no parameters of {run}, expected a rung, run or end point that it keeps; type one "
        f"of {', '.join(sizes[:MAX_LISTED])}{near(run or '', known)}",
        "run",
    )


def say_if_better(folder: Path, run: str | None, card: Card) -> None:
    """Print a note for the user of a command whose best model has no parameters, so that another was taken.

    Args:
        folder: folder of a sweep, or of an exported model.
        run: what the user asked for; nothing is said if it is a name.
        card: the model that was taken.
    """
    note = None if run is not None else better_without_parameters(folder, card)
    if note:
        print(f"note: {note}", file=sys.stderr)


def better_without_parameters(folder: Path, card: Card) -> str | None:
    """Return a sentence if an end point has a lower loss than a model and no parameters; None if it has none.

    Args:
        folder: folder of a sweep, or of an exported model, which has no others.
        card: the model that was taken for the best.
    """
    losses = {}
    for path in SweepFolder(folder).runs.glob("*/points/*.json"):
        try:
            loss = read_checked(path).get("loss")
        except (Damaged, AttributeError):
            continue
        if loss is not None and loss < card.loss:
            losses[RunFolder(path.parent.parent).point_weights(path.stem)] = float(loss)
    missing = [path for path in losses if not path.exists()]
    if not missing:
        return None
    best = min(missing, key=lambda path: losses[path])
    rung = _rungs(SweepFolder(folder)).get(best.stem, "an end point")
    return (
        f"{rung} with the lowest loss of the sweep, {losses[best]:.4g}, has no parameters: {best} is not "
        f"there; taken is {card.spec.get('rung')} at {card.n_tokens:,} tokens with {card.loss:.4g}"
    )


def _rungs(folder: SweepFolder) -> dict[str, str]:
    """Return the rung of every end point of a sweep."""
    record = find_sweep(folder.sweep)
    return {cell.point_id: cell.rung for cell in record.cells} if record else {}


def _way_out(path: Path) -> str:
    """Return what to do about a damaged file of parameters."""
    if path.name == EXPORTED:
        return f"write it again by {program_name('harness.export')} results/NAME --to DIR"
    point = RunFolder(path.parent.parent).point(path.stem)
    return f"put it back from a copy, or delete {point} and train it again by the sweep's command"


def _of_sweep(folder: SweepFolder) -> list[Path]:
    """Return the files of all kept end points of a sweep."""
    if not folder.sweep.exists():
        raise InputError(
            f"{folder.root} is no folder of a sweep (sweep.json is missing); give the folder of one, such as "
            "results/chinchilla"
        )
    found = sorted(folder.runs.glob("*/weights/*.safetensors"))
    if not found:
        raise InputError(
            f"{folder.root} keeps no parameters of its models; train it in another folder with keep=auto "
            "or keep=points, because tables alone hold none"
        )
    return found


def _names(card: Card) -> tuple[str, ...]:
    return str(card.spec.get("rung")), card.run_id, card.point_id
