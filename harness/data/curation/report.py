"""The report of a curation: what each step left over and dropped, with examples, lengths and languages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.data.curation.count import DROPPED, KEPT, LENGTHS, N_EXAMPLES
from harness.records.errors import InputError
from harness.records.json_files import read_record, to_json

FILE = "curation.json"
SCHEMA = 1


@dataclass(frozen=True)
class Amount:
    """A number of documents and the bytes of their texts in UTF-8."""

    documents: int
    bytes: int


@dataclass(frozen=True)
class Example:
    """A document that a step dropped.

    Attributes:
        id: its name, else its file and line.
        reason: why it was dropped.
        bytes: bytes of the whole text.
        text: beginning of the text.
        url: address; empty if it has none.
    """

    id: str
    reason: str
    bytes: int
    text: str
    url: str


@dataclass(frozen=True)
class StepReport:
    """What is left after a step.

    Attributes:
        step: name of the step.
        left: what passed it.
        dropped: documents and bytes by reason.
        examples: some of the documents dropped, drawn by hash.
    """

    step: str
    left: Amount
    dropped: dict[str, Amount]
    examples: list[Example]


@dataclass(frozen=True)
class Range:
    """Documents of some lengths.

    Attributes:
        below: bound of their bytes; None for the longest.
        read: what was read.
        left: what was left at the end.
    """

    below: int | None
    read: Amount
    left: Amount


@dataclass(frozen=True)
class InLanguage:
    """Documents in a language: those found, and those left at the end."""

    found: Amount
    left: Amount


@dataclass(frozen=True)
class Curation:
    """Report of a curation, stored beside its tokens.

    Attributes:
        schema: version of this layout.
        recipe: the recipe, as it was used.
        decided_by: all that decides the bytes of the corpus.
        steps: reading and every step, in their order.
        lengths: table of lengths.
        languages: documents by language; empty if nothing told them.
        n_tokens: tokens of the corpus, separators included.
        n_files: its shards.
    """

    schema: int
    recipe: dict[str, Any]
    decided_by: dict[str, Any]
    steps: list[StepReport]
    lengths: list[Range]
    languages: dict[str, InLanguage]
    n_tokens: int
    n_files: int


def count_steps(
    folder: Path, steps: Sequence[str], n_tasks: int
) -> tuple[list[StepReport], list[Range], dict[str, InLanguage]]:
    """Add up the counts of all tasks.

    Args:
        folder: folder of the counts.
        steps: names of reading and of every step.
        n_tasks: tasks that have counted.

    Returns:
        Reports of the steps, table of lengths, and documents by language, the most frequent first.

    Raises:
        RuntimeError: counts of a task are missing.
    """
    kept = {step: _kept(folder, step, n_tasks) for step in steps}
    reports = [_step_report(folder, step, kept[step]) for step in steps]
    first, last = kept[steps[0]], kept[steps[-1]]
    bounds = (*LENGTHS, None)
    lengths = [
        Range(bound, *(_sum(count["lengths"][index] for count in counts) for counts in (first, last)))
        for index, bound in enumerate(bounds)
    ]
    # What the filter of languages drops has a language too.
    told = [*kept.get("language", []), *_files(folder, DROPPED, "language")]
    found = _by_key(count["languages"] for count in told)
    left = _by_key(count["languages"] for count in last)
    none = Amount(0, 0)
    return reports, lengths, {name: InLanguage(found[name], left.get(name, none)) for name in found}


def masked(step: StepReport, mask: Callable[[str], str]) -> StepReport:
    """Return a report whose examples are masked."""
    return replace(step, examples=[replace(example, text=mask(example.text)) for example in step.examples])


def find_curation(folder: Path) -> Curation | None:
    """Return the report in the folder of a corpus; None if it has none.

    Raises:
        Damaged: the report cannot be read.
    """
    path = folder / FILE
    return read_record(path, Curation, SCHEMA) if path.is_file() else None


def shown(folder: Path) -> dict[str, Any] | None:
    """Return what a report of a sweep shows of a corpus's curation; None if there is nothing to show."""
    try:
        found = find_curation(folder)
    except InputError:  # The tokens are whole; another program may have a file of this name.
        return None
    if found is None:
        return None
    content = to_json(found)
    return {key: content[key] for key in ("recipe", "steps", "lengths", "languages", "n_tokens")}


def _kept(folder: Path, step: str, n_tasks: int) -> list[dict[str, Any]]:
    found = list(_files(folder, KEPT, step))
    if len(found) != n_tasks:
        raise RuntimeError(f"{len(found)} of {n_tasks} tasks have counted what {step} left over")
    return found


def _files(folder: Path, what: str, step: str) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / what / step).glob("*.json")):
        yield json.loads(path.read_text())


def _step_report(folder: Path, step: str, kept: Sequence[dict[str, Any]]) -> StepReport:
    dropped = list(_files(folder, DROPPED, step))
    # Each task keeps its own few; together they are those of all.
    examples = sorted((each for count in dropped for each in count["examples"]), key=lambda each: each[0])
    return StepReport(
        step,
        Amount(sum(count["documents"] for count in kept), sum(count["bytes"] for count in kept)),
        _by_key(count["reasons"] for count in dropped),
        [Example(**example) for _, example in examples[:N_EXAMPLES]],
    )


def _by_key(counts: Any) -> dict[str, Amount]:
    """Return the sums of documents and bytes by key, the largest first."""
    pairs: dict[str, list[list[int]]] = {}
    for count in counts:
        for key, pair in count.items():
            pairs.setdefault(key, []).append(pair)
    sums = {key: _sum(found) for key, found in pairs.items()}
    return dict(sorted(sums.items(), key=lambda item: (-item[1].documents, item[0])))


def _sum(pairs: Any) -> Amount:
    found = list(pairs)
    return Amount(sum(pair[0] for pair in found), sum(pair[1] for pair in found))
