"""Counts of tasks add up to one report, without datatrove."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.data.curation.count import N_EXAMPLES, Count, Dropped
from harness.data.curation.report import (
    Amount,
    Curation,
    InLanguage,
    Range,
    count_steps,
    find_curation,
    shown,
)
from harness.records.errors import InputError
from harness.records.json_files import write_record


@dataclass
class Text:
    """What a filter sees of a document."""

    text: str
    id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


def curated(folder: Path, rank: int, texts: list[tuple[str, str, str]]) -> None:
    """Let one task read texts of (text, language, reason to drop it), with a filter of languages."""
    documents = [
        Text(text, f"{rank}/{i}", {"given": (language, why)}) for i, (text, language, why) in enumerate(texts)
    ]
    with Dropped(str(folder), "language") as writer:

        def kept() -> Any:
            for document in Count(str(folder), "read")(documents, rank, 2):
                language, why = document.metadata["given"]
                document.metadata["language"] = language
                if why:
                    document.metadata["filter_reason"] = why
                    writer.write(document, rank)
                else:
                    yield document

        for _ in Count(str(folder), "language")(kept(), rank, 2):
            pass


def test_counts_of_all_tasks_add_up(tmp_path: Path) -> None:
    curated(tmp_path, 0, [("é" * 200, "en", ""), ("ab", "fr", "fr"), ("abc", "en", "unsure")])
    curated(tmp_path, 1, [("x" * 300_000, "en", ""), ("cd", "fr", "fr")])
    steps, lengths, languages = count_steps(tmp_path, ["read", "language"], 2)
    read, language = steps
    assert read.left == Amount(5, 400 + 2 + 3 + 300_000 + 2)
    assert language.left == Amount(2, 300_400)
    assert language.dropped == {"fr": Amount(2, 4), "unsure": Amount(1, 3)}
    assert {each.text for each in language.examples} == {"ab", "abc", "cd"}
    assert read.examples == []
    assert lengths[0] == Range(256, Amount(3, 7), Amount(0, 0))
    assert lengths[1] == Range(1024, Amount(1, 400), Amount(1, 400))
    assert lengths[-1] == Range(None, Amount(1, 300_000), Amount(1, 300_000))
    none = Amount(0, 0)
    assert list(languages) == ["en", "fr"]
    assert languages["en"] == InLanguage(Amount(3, 300_403), Amount(2, 300_400))
    assert languages["fr"] == InLanguage(Amount(2, 4), none)


def test_examples_are_the_same_however_the_tasks_are_cut(tmp_path: Path) -> None:
    texts = [(f"text {i}", "fr", "fr") for i in range(50)]
    curated(tmp_path / "one", 0, texts)
    for rank in range(2):
        curated(tmp_path / "two", rank, texts[rank::2])
    found = [
        count_steps(tmp_path / name, ["read", "language"], n)[0][1] for name, n in (("one", 1), ("two", 2))
    ]
    shown_texts = [[each.text for each in step.examples] for step in found]
    assert shown_texts[0] == shown_texts[1]
    assert len(shown_texts[0]) == N_EXAMPLES
    # Drawn by hash, not the first of a file.
    assert set(shown_texts[0]) != {text for text, *_ in texts[:N_EXAMPLES]}


def test_a_task_that_has_not_counted_is_a_bug(tmp_path: Path) -> None:
    curated(tmp_path, 0, [("a", "en", "")])
    with pytest.raises(RuntimeError, match="1 of 2 tasks have counted"):
        count_steps(tmp_path, ["read", "language"], 2)


def test_a_filter_that_fails_writes_no_count(tmp_path: Path) -> None:
    def fail() -> None:
        with Dropped(str(tmp_path), "c4") as writer:
            writer.write(Text("a"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not list(tmp_path.rglob("*.json"))


def test_a_report_is_found_beside_the_tokens_or_nothing_is_shown(tmp_path: Path) -> None:
    assert find_curation(tmp_path) is None
    assert shown(tmp_path) is None
    report = Curation(1, {"output": "x"}, {}, [], [], {}, 5, 1)
    write_record(tmp_path / "curation.json", report)
    assert find_curation(tmp_path) == report
    assert shown(tmp_path) == {
        "recipe": {"output": "x"}, "steps": [], "lengths": [], "languages": {}, "n_tokens": 5,
    }  # fmt: skip
    (tmp_path / "curation.json").write_text('{"by": "another program"}')
    assert shown(tmp_path) is None
    with pytest.raises(InputError):
        find_curation(tmp_path)
