"""`python -m harness.data.curate RECIPE.yaml [KEY=VALUE ...]`: filter, deduplicate and tokenise raw text.

The steps are those of datatrove (extra `curate`), on its local, Slurm or Ray executor. The folder that is
left holds shards for `data=tokens`, their tokenizer and a report. A command that was killed goes on.
Exit codes: 0 done; 2 wrong input.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np

from harness.data.curation.execute import run_stage
from harness.data.curation.recipe import Recipe, read_recipe
from harness.data.curation.report import FILE, SCHEMA, Amount, Curation, count_steps, find_curation, masked
from harness.data.curation.stages import COUNTS, READ_STEP, TOKENS, masking, stages
from harness.data.text.file_tokenizer import FileTokenizer
from harness.records.command_line import CommandParser, program_name
from harness.records.errors import InputError
from harness.records.files import write_json
from harness.records.json_files import read_json, write_record
from harness.records.secret_text import redacted_values

WORK, DECIDED_BY, TOKENIZER = "work", "decided_by.json", "tokenizer.json"
REASONS = 3  # named behind a step


def curate(recipe: Recipe, say: Callable[[str], None] = print) -> Curation:
    """Run a recipe, or what is left of it, and return its report.

    Args:
        recipe: the recipe.
        say: receives a line at the beginning of every stage, and the counts at the end.

    Raises:
        InputError: an input cannot be used, the extra is missing, the folder holds something else, or another
            process works in it.
    """
    files, tokenizer = recipe.inputs()
    if importlib.util.find_spec("datatrove") is None:
        raise InputError("curation needs datatrove, which is not installed; type uv run --extra curate")
    if recipe.extracts and importlib.util.find_spec("resiliparse") is None:
        raise InputError("extract needs resiliparse, which is not installed; type uv run --extra curate")
    separator = recipe.separator(tokenizer)
    assert separator is not None
    decided_by = recipe.what_decides(files, tokenizer, {name: version(name) for name in recipe.libraries})
    output = Path(recipe.output).expanduser().absolute()
    found = find_curation(output)
    work = output / WORK
    if found is None:
        _check_folder(output, work)
        work.mkdir(parents=True, exist_ok=True)
        with _alone(work):
            note = work / DECIDED_BY
            _check_same(read_json(note) if note.exists() else None, decided_by, output)
            write_json(note, decided_by)
            planned = stages(recipe, files, separator, work)
            for number, stage in enumerate(planned, 1):
                say(f"stage {number} of {len(planned)}: {stage.name}, {stage.n_tasks} task(s)")
                run_stage(stage, recipe.executor, work)
            found = _finish(recipe, decided_by, tokenizer, output)
    _check_same(found.decided_by, decided_by, output)
    shutil.rmtree(work, ignore_errors=True)
    for line in lines(found):
        say(line)
    say(_what_next(recipe, tokenizer, output))
    return found


def lines(report: Curation) -> Iterator[str]:
    """Yield a line for every step: what it left over, and why it dropped the rest."""
    before: Amount | None = None
    for step in report.steps:
        text = f"{step.step:<18}{step.left.documents:>12,} documents {step.left.bytes / 1e6:>12,.1f} MB"
        if before is not None and before != step.left:
            more = step.left.documents - before.documents, step.left.bytes - before.bytes
            text += f"  {more[0]:+,}, {more[1] / 1e6:+,.1f} MB"
        if step.dropped:
            named = [f"{reason} {amount.documents:,}" for reason, amount in step.dropped.items()]
            text += f": {', '.join(named[:REASONS])}{', …' if len(named) > REASONS else ''}"
        yield text
        before = step.left
    yield f"{report.n_tokens:,} tokens in {report.n_files:,} file(s)"


def _finish(
    recipe: Recipe, decided_by: dict[str, object], tokenizer: FileTokenizer, output: Path
) -> Curation:
    """Move the shards into place and write the report, which says that the corpus is whole."""
    work = output / WORK
    names = [READ_STEP, *(step.name for step in recipe.steps)]
    steps, lengths, languages = count_steps(work / COUNTS, names, recipe.n_tasks)
    # A report goes further than a corpus, and an example was dropped before its addresses were masked.
    steps = [masked(step, masking(recipe)) for step in steps]
    if steps[0].left.documents == 0:
        raise InputError(
            f"read.path={recipe.read['path']} has no record with a text in "
            f"{recipe.read.get('text_field', 'text')}; name its field with read.text_field and another output"
        )
    if steps[-1].left.documents == 0:
        last = next(step for step in steps if step.left.documents == 0)
        raise InputError(
            f"no document passed {last.step}; leave it out or give it other options, and name another output"
        )
    # Indexes go first, because a shard without its index is read too.
    for pattern in ("*.ds.index", "*.ds"):
        for path in sorted((work / TOKENS).glob(pattern)):
            if path.stat().st_size:  # A task without documents leaves empty files.
                os.replace(path, output / path.name)
    (output / TOKENIZER).write_text(tokenizer.definition, encoding="utf-8")
    ends = [np.fromfile(path, "<u8")[-1] for path in sorted(output.glob("*.ds.index"))]
    report = Curation(
        SCHEMA,
        redacted_values(asdict(recipe)),
        decided_by,
        steps,
        lengths,
        languages,
        int(sum(ends)),
        len(ends),
    )
    write_record(output / FILE, report)
    return report


def _check_folder(output: Path, work: Path) -> None:
    """Raise InputError if the folder holds something other than an unfinished curation."""
    if output.exists() and not output.is_dir():
        raise InputError(f"output={output} is a file; name a folder")
    if output.is_dir() and not work.is_dir() and any(output.iterdir()):
        raise InputError(f"output={output} holds other files, expected a new or empty folder; name another")


def _check_same(before: object, now: dict[str, object], output: Path) -> None:
    """Raise InputError if the folder was begun with another recipe or other inputs."""
    if before is None or before == now:
        return
    assert isinstance(before, dict)
    changed = [key for key in now if before.get(key) != now[key]]
    raise InputError(
        f"output={output} was begun with other {', '.join(changed)}; name another folder, or remove that one"
    )


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Hold a lock that ends with this process, also by a kill."""
    with open(work / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process works in output={work.parent}; wait for it or name another folder"
            ) from None
        yield


def _what_next(recipe: Recipe, tokenizer: FileTokenizer, output: Path) -> str:
    """Return the command line options that read the corpus."""
    options = f"data=tokens data.path={output} data.tokenizer={output / TOKENIZER}"
    named = recipe.tokenize.get("separator")
    if named is not None and tokenizer.id_of(named) != tokenizer.separator:
        options += f" data.separator={tokenizer.id_of(named)}"
    return f"train on it with {program_name('harness.sweep')} +grid=chinchilla {options}"


def parser() -> CommandParser:
    """Return the parser of the command."""
    found = CommandParser(
        "harness.data.curate",
        "Filter, deduplicate and tokenise raw text with datatrove, for data=tokens.",
        "python -m harness.data.curate harness/data/curation/web.yaml read.path=texts output=curated",
    )
    found.add_argument("recipe", type=Path, help="YAML file, for example harness/data/curation/web.yaml")
    found.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings that go before the file's")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""

    def act(given: object) -> None:
        curate(read_recipe(given.recipe, given.overrides), lambda line: print(line, flush=True))  # type: ignore[attr-defined]

    return parser().answer(arguments, act)


if __name__ == "__main__":
    sys.exit(main())
