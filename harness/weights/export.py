"""Export of a trained model: parameters, configuration and tokenizer as files that other programs read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import tokenizers as hf
from tokenizers import decoders, models, pre_tokenizers

from harness.data.text.file_tokenizer import FileTokenizer
from harness.data.text.tokenizer import BYTE_OF_CHARACTER, SEPARATOR
from harness.recipe import counting
from harness.records.errors import InputError
from harness.records.files import write_atomic, write_json, write_parts
from harness.weights import transformers_format as theirs
from harness.weights.kept import AnyTokenizer, Kept
from harness.weights.run import EXPORTED, read_chosen, say_if_better
from harness.weights.tensor_file import write_tensors

CONFIG, TOKENIZER, TOKENIZER_CONFIG = "config.json", "tokenizer.json", "tokenizer_config.json"
# Copied in blocks: a file of parameters may be larger than memory.
BLOCK_BYTES = 1 << 24


def export(folder: Path, run: str | None, target: Path, *, library: bool = False) -> list[Path]:
    """Write a trained model into a folder: `model.safetensors`, `config.json` and `tokenizer.json`.

    In our own format the parameters are copied bit by bit, and `load_run` takes the folder. A model of
    synthetic symbols has no tokenizer.

    Args:
        folder: folder of the sweep.
        run: rung, run or end point, as `load_run` takes it.
        target: folder to write, which is made if it is missing.
        library: whether to write names and configuration of the library transformers instead.

    Returns:
        The files written.

    Raises:
        InputError: there is no such model, `target` is a file or the folder of a sweep, or the library has no
            class for the model.
    """
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file, expected a folder to write; give another name", "target")
    if (target / "sweep.json").exists():
        raise InputError(f"{target} is the folder of a sweep; give a folder of its own", "target")
    source, kept = read_chosen(folder, run)
    say_if_better(folder, run, kept.card)
    written = [target / EXPORTED, target / CONFIG]
    if library:
        theirs.check_known(kept.spec.model)
        # The library refuses a file that does not name a framework.
        write_tensors(written[0], theirs.library_arrays(kept), {"format": "pt"})
    elif source.resolve() != written[0].resolve():
        with open(source, "rb") as file:
            write_parts(written[0], iter(lambda: file.read(BLOCK_BYTES), b""))
    write_json(written[1], theirs.library_config(kept) if library else config(kept))
    if kept.tokenizer is not None:
        written.append(target / TOKENIZER)
        write_atomic(written[-1], library_tokenizer(kept.tokenizer).to_str(pretty=True))
    if kept.tokenizer is not None and library:
        written.append(target / TOKENIZER_CONFIG)
        write_json(written[-1], theirs.library_tokenizer_config(kept, library_tokenizer(kept.tokenizer)))
    return written


def config(kept: Kept) -> dict[str, Any]:
    """Return the configuration of an exported model: shape, training and recipe."""
    card, spec = kept.card, kept.spec
    head = "tied" if spec.model.tied_embeddings else "untied"
    return {
        "architecture": f"pre-norm decoder (RMSNorm, rotary positions, {head} head)",
        "model": asdict(spec.model) | {"head_dim": spec.model.head_dim},
        "n_params": counting.n_params(spec.model),
        "precision": card.precision,
        "separator": None if kept.tokenizer is None else kept.tokenizer.separator,
        "trained": {
            "run_id": card.run_id,
            "point_id": card.point_id,
            "n_tokens": card.n_tokens,
            "loss": card.loss,
            "bits_per_byte": card.bits_per_byte,
        },
        "recipe": card.spec,
    }


def library_tokenizer(tokenizer: AnyTokenizer) -> hf.Tokenizer:
    """Return a tokenizer of the library `tokenizers` with the same ids; the separator is a special token."""
    if isinstance(tokenizer, FileTokenizer):
        return hf.Tokenizer.from_str(tokenizer.definition)
    found = hf.Tokenizer.from_str(tokenizer.definition) if tokenizer.definition else _of_bytes()
    # Ids between text and separator belong to task documents, and no text becomes one of them.
    free = tokenizer.separator - found.get_vocab_size()
    found.add_special_tokens([*(f"<|tag{number}|>" for number in range(free)), SEPARATOR])
    return found


def _of_bytes() -> hf.Tokenizer:
    """Return a byte-level tokenizer without merges, in which the id of a byte is its value."""
    found = hf.Tokenizer(models.BPE(BYTE_OF_CHARACTER, []))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    found.decoder = decoders.ByteLevel()
    return found
