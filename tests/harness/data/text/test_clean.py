"""Curation: what is dropped and why, duplicates, and the split."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.build import text_id
from harness.data.text.clean import (
    PYTHON_LIMITS,
    TEXT_LIMITS,
    Limits,
    clean,
    defect,
    normalise,
    strip_licence,
)
from harness.data.text.dedup import Shingles, drop_exact, drop_near, shingle, split_documents
from harness.data.text.document import Document, Dropped, Unusable

WORDS = np.random.default_rng(0).integers(0, 10**6, 4_000)
CODE = "".join(f"def function_{word:x}(x):\n    return x + {word % 7}\n" for word in WORDS[:40])


def words(first: int, count: int) -> str:
    return " ".join(f"w{word}" for word in WORDS[first : first + count])


def names(documents: list[Document]) -> list[str]:
    return [document.name for document in documents]


def cleaned(documents: Sequence[Document | Unusable], limits: Limits) -> tuple[list[Document], Dropped]:
    dropped = Dropped()
    return list(clean(documents, limits, dropped)), dropped


@settings(deadline=None)
@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert "\r" not in once
    assert once == "" or once.endswith("\n")


def test_newlines_of_all_systems_are_one() -> None:
    assert normalise("\ufeffa\r\nb\rc\n\n") == "a\nb\nc\n"


def test_a_licence_at_the_head_is_removed_and_other_comments_stay() -> None:
    licence = "# Copyright 2024 The Authors.\n#\n# Licensed under X\n\n"
    assert strip_licence(licence + CODE) == CODE
    assert strip_licence("# Helpers.\n\n" + CODE) == "# Helpers.\n\n" + CODE
    assert strip_licence(CODE + licence) == CODE + licence


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1\n", "short"),
        ("".join(f"{word}, " + ("\n" if word % 5 == 0 else "") for word in WORDS[:200]), "digits"),
        ("".join(f"имя_{word:x} = f(x)\n" for word in WORDS[:40]), "not ASCII"),
        (CODE + "\0" * 20, "control characters"),
        (CODE + "data = [" + " ".join("abcdefgh"[word % 8 :] for word in WORDS[:200]) + "]\n", "long lines"),
        (
            CODE + "".join("".join(chr(97 + w % 26) for w in WORDS[i : i + 90]) + "\n" for i in range(40)),
            "long words",
        ),
        ("def function(x):\n    return x\n" * 100, "repetitive"),
        (CODE, None),
    ],
)
def test_each_limit_names_its_reason(text: str, reason: str | None) -> None:
    assert defect(text, PYTHON_LIMITS) == reason


def test_generated_code_is_dropped_by_its_own_words() -> None:
    marked = Document("marked", "# This file is auto-generated. DO NOT EDIT.\n" + CODE)
    late = Document("late", CODE + "# do not edit\n")
    kept, dropped = cleaned([marked, late], PYTHON_LIMITS)
    assert names(kept) == ["late"]
    assert dropped.counts == {"generated": 1}


def test_own_text_is_kept_in_any_language_and_notation() -> None:
    texts = ["Строка на русском языке.\n", "3.14159 26535 89793\n", "# Copyright: a story. Do not edit.\n"]
    kept, dropped = cleaned([Document(str(i), text) for i, text in enumerate(texts)], TEXT_LIMITS)
    assert [document.text for document in kept] == texts
    assert not dropped.counts


def test_what_is_left_out_is_counted_and_its_first_place_named() -> None:
    half = "\ud83d"  # the first half of a character outside the basic plane, as cut chat logs have it
    documents = [
        Document("a.jsonl:1", words(0, 40)),
        Document("a.jsonl:2", words(40, 40) + half),
        Unusable("a.jsonl:3", "not JSON", "Expecting value"),
        Unusable("b\x1b[2J.jsonl:1", "not JSON", "Expecting value"),
        Document("c.txt:1", words(80, 40) + "\udce9"),
        Unusable("d\x1b[2J.jsonl:1", "no text in 'text'", "holds null"),
    ]
    kept, dropped = cleaned(documents, TEXT_LIMITS)
    assert names(kept) == ["a.jsonl:1"]
    assert dropped.counts == {"not Unicode": 2, "not JSON": 2, "no text in 'text'": 1}
    assert dropped.in_words(with_places=True) == (
        "not Unicode 2 (first: a.jsonl:2), not JSON 2 (first: a.jsonl:3 Expecting value), "
        "no text in 'text' 1 (first: d?[2J.jsonl:1 holds null)"
    )
    assert dropped.in_words(with_places=False) == "not Unicode 2, not JSON 2, no text in 'text' 1"


def test_the_first_of_equal_documents_stays() -> None:
    documents = [Document("a", "x"), Document("b", "y"), Document("c", "x")]
    assert names(drop_exact(documents)) == ["a", "b"]


def test_near_duplicates_lose_to_the_longest_and_order_is_kept() -> None:
    documents = [
        Document("part", words(100, 200)),
        Document("other", words(2_000, 300)),
        Document("whole", words(0, 500)),
        Document("edited", words(0, 240) + " changed " + words(240, 250)),
        Document("half new", words(400, 100) + " " + words(3_000, 150)),
    ]
    assert names(drop_near(documents, shingle(documents))) == ["other", "whole", "half new"]


def test_a_document_copied_from_two_others_is_found() -> None:
    documents = [Document("a", words(0, 300)), Document("b", words(1_000, 300))]
    pasted = Document("pasted", words(0, 120) + " " + words(1_000, 120))
    assert names(drop_near([*documents, pasted], shingle([*documents, pasted]))) == ["a", "b"]


def test_shingles_are_sequences_of_eight_words() -> None:
    documents = [
        Document("a", words(0, 20)),
        Document("b", words(5, 20)),
        Document("reversed", " ".join(reversed(words(0, 20).split()))),
        Document("one", "word"),
        Document("none", ""),
    ]
    shingles = shingle(documents)
    assert [len(shingles.ids[name]) for name in ("a", "b", "one", "none")] == [13, 13, 1, 1]
    assert len(np.intersect1d(shingles.ids["a"], shingles.ids["b"])) == 8
    assert len(np.intersect1d(shingles.ids["a"], shingles.ids["reversed"])) == 0
    assert shingles.n_distinct == 13 + 5 + 13 + 2
    assert shingle([]) == Shingles({}, 0)


def test_the_split_follows_content_not_names_or_company() -> None:
    documents = [Document(f"n{i}", words(10 * i, 60)) for i in range(0, 300, 6)]
    split = split_documents(documents, shingle(documents), 0.3)
    assert split.n_leaks == 0
    assert sorted(names(split.train) + names(split.eval)) == sorted(names(documents))
    assert 5 <= len(split.eval) <= 25
    renamed = [Document(f"m{i}", document.text) for i, document in enumerate(reversed(documents[10:]))]
    again = split_documents(renamed, shingle(renamed), 0.3)
    before = [d.text for d in split.eval if d in documents[10:]]
    assert [document.text for document in again.eval] == before
    assert names(split.train) != sorted(names(split.train))


def test_a_larger_share_only_adds_to_the_evaluation_side() -> None:
    documents = [Document(f"n{i}", words(10 * i, 60)) for i in range(0, 300, 6)]
    small, large = (split_documents(documents, shingle(documents), share) for share in (0.1, 0.4))
    assert set(names(small.eval)) < set(names(large.eval))


def test_evaluation_text_scattered_over_training_documents_is_dropped() -> None:
    own = [Document(f"n{i}", words(60 * i, 60)) for i in range(60)]
    held_out = split_documents(own, shingle(own), 0.2).eval
    leaked = held_out[0].text.split()
    # Each quotes 9 of its 53 shingles, too few by themselves.
    quotes = [
        Document(f"quote{i}", " ".join([f"v{i}", *leaked[i : i + 16], *(f"v{i}.{k}" for k in range(30))]))
        for i in range(0, 45, 3)
    ]
    documents = own + quotes
    split = split_documents(documents, shingle(documents), 0.2)
    assert held_out[0] not in split.eval
    assert split.n_leaks == 1
    assert set(names(held_out[1:])) <= set(names(split.eval))


def test_the_identifier_reads_every_byte_and_the_side_it_is_on() -> None:
    splits = [(["ab"], ["c"]), (["xb"], ["c"]), (["ab"], ["x"]), (["ab", "c"], []), (["a", "b"], ["c"])]
    assert len({text_id(*split) for split in splits}) == len(splits)
