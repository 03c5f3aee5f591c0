"""Generated problems: what they say, how they are split, how they get into the stream of tokens."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.build import DataConfig
from harness.data.tasks import markov
from harness.data.tasks.contamination import PREFIX, contamination, occurring
from harness.data.tasks.documents import (
    DOCUMENT_TOKENS,
    MARKOV,
    TASKS,
    TEST,
    TRAIN,
    check_lengths,
    draw,
    example_width,
    mean_tokens,
    n_examples,
    tag,
    training_documents,
)
from harness.data.tasks.families import FAMILIES, N_FUNCTIONS
from harness.data.tasks.hashed_random import TEST_SHARE, is_test
from harness.data.tasks.items import HELD_OUT, NEWLINE, SEEN, task_items
from harness.data.tasks.mixture import TaskConfig, check_tasks
from harness.data.text.tokenizer import SEPARATOR
from harness.records.errors import InputError
from tests.task_corpus import TASK_CONFIGS, data_config, mixed_corpus, tokenizer

LENGTHS = {
    "addition": [1, 2, 3, 4], "addition_reversed": [1, 2, 3, 4], "digit_sum": [2, 3, 4],
    "copy": [4, 8, 16, 32], "reverse": [4, 8, 16, 32], "recall": [2, 4, 8, 16], "hops": [1, 2, 3],
    "functions": [2],
}  # fmt: skip
CASES = [(task, length) for task, lengths in LENGTHS.items() for length in lengths]
case = st.sampled_from(CASES)


def solve(task: str, length: int, prompt: str) -> str | None:
    """The answer by other means than the generator's; None where the prompt alone does not say."""
    if task in ("addition", "addition_reversed"):
        total = f"{sum(int(part) for part in prompt.strip('=').split('+')):0{length + 1}d}"
        return total if task == "addition" else total[::-1]
    if task == "digit_sum":
        return str(sum(map(int, prompt.strip("="))) % 10)
    if task in ("copy", "reverse"):
        return prompt[:-1] if task == "copy" else prompt[-2::-1]
    if task == "recall":
        pairs, asked = prompt.split("?")
        return dict(zip(pairs[::2], pairs[1::2], strict=True))[asked]
    if task == "hops":
        arrows, asked = prompt.split("?")
        to = dict(zip(arrows[::2], arrows[1::2], strict=True))
        at = asked[1]
        for _ in range(int(asked[0])):
            at = to[at]
        return at
    return None


def text(row: np.ndarray) -> str:
    return row.astype(np.uint8).tobytes().decode()


@settings(max_examples=60, deadline=None)
@given(case=case, first=st.integers(0, 2**40), test=st.booleans())
def test_answers_are_right_and_on_the_right_side(case: tuple[str, int], first: int, test: bool) -> None:
    task, length = case
    index = first + np.arange(20)
    problems = draw(task, length, TEST if test else TRAIN, index, index % 7, test)
    for prompt, answer in zip(problems.prompt, problems.answer, strict=True):
        expected = solve(task, length, text(prompt))
        assert expected is None or expected == text(answer)
    if FAMILIES[task].held_out(length):
        assert (is_test(problems.key) == test).all()
    if problems.candidates is not None:
        assert (problems.candidates == problems.answer).sum(axis=1).tolist() == [1] * len(index)


@settings(max_examples=30, deadline=None)
@given(case=case, first=st.integers(0, 2**20), skip=st.integers(1, 9))
def test_a_document_is_a_function_of_its_number(case: tuple[str, int], first: int, skip: int) -> None:
    task, length = case
    whole = training_documents(task, length, first, skip + 3, tokenizer())
    later = training_documents(task, length, first + skip, 3, tokenizer())
    assert whole.tokens[-len(later.tokens) :].tolist() == later.tokens.tolist()
    assert whole.lengths[skip:].tolist() == later.lengths.tolist()


@pytest.mark.parametrize(("task", "length"), CASES)
def test_documents_hold_whole_examples_of_training_problems(task: str, length: int) -> None:
    n = 300
    documents = training_documents(task, length, 0, n, tokenizer())
    assert documents.lengths.max() <= DOCUMENT_TOKENS + 1
    assert documents.lengths.sum() == len(documents.tokens)
    assert documents.lengths.mean() == pytest.approx(mean_tokens(task, length), rel=0.1)
    shown = tokenizer().decode(documents.tokens).split(SEPARATOR)[:-1]
    assert len(shown) == n
    width = example_width(task, length)
    answered = FAMILIES[task].alphabet(length)
    for document in shown:
        examples = document.splitlines()
        assert 1 <= len(examples) <= n_examples(task, length)
        for example in examples:
            assert len(example) == width - 1
            prompt, answer = example[: -len(answered)], example[-len(answered) :]
            assert solve(task, length, prompt) in (None, answer)
            if FAMILIES[task].held_out(length) and task.startswith("addition"):
                left, right = sorted(int(part) for part in prompt.strip("=").split("+"))
                assert (left, right) not in held_out_sums(length)


@cache
def held_out_sums(length: int = 2) -> set[tuple[int, int]]:
    """Of two-digit sums, practically all that are held out."""
    index = np.arange(20_000)
    problems = draw("addition", length, TEST, index, np.zeros_like(index), test=True)
    sums = [sorted(map(int, text(row).strip("=").split("+"))) for row in problems.prompt]
    return {(left, right) for left, right in sums}


def test_a_sum_is_one_problem_both_ways_and_in_both_notations() -> None:
    index = np.arange(3_000)
    key: dict[tuple[int, ...], bool] = {}
    for task in ("addition", "addition_reversed"):
        for test in (False, True):
            problems = draw(task, 2, TEST, index, index, test)
            for row in problems.prompt:
                pair = tuple(sorted(map(int, text(row).strip("=").split("+"))))
                assert key.setdefault(pair, test) == test
    share = sum(key.values()) / len(key)
    assert share == pytest.approx(TEST_SHARE, abs=0.05)


def test_a_document_of_functions_has_one_rule_and_two_labels() -> None:
    seen = set()
    for document in (
        tokenizer()
        .decode(training_documents("functions", 2, 0, 400, tokenizer()).tokens)
        .split(SEPARATOR)[:-1]
    ):
        labels = {line[-1] for line in document.splitlines()}
        assert len(labels) <= 2
        seen |= labels
    assert len(seen) == 26
    index = np.repeat(np.arange(200), 9)
    slots = np.tile(np.arange(9), 200)
    problems = draw("functions", 2, TRAIN, index, slots, test=False)
    assert len(np.unique(problems.key)) <= 200
    assert (problems.key.reshape(200, 9) == problems.key.reshape(200, 9)[:, :1]).all()
    assert N_FUNCTIONS == 6


@pytest.mark.parametrize("task", TASKS)
def test_digits_and_letters_are_single_tokens_and_tags_are_no_text(task: str) -> None:
    length = markov.N_STATES if task == MARKOV else LENGTHS[task][0]
    documents = training_documents(task, length, 0, 5, tokenizer())
    first = np.cumsum(documents.lengths) - documents.lengths
    pieces = tokenizer().pieces
    assert {pieces[token] for token in documents.tokens[first]} == {b""}
    rest = np.delete(documents.tokens, [*first, *(first + documents.lengths - 1)])
    assert {len(pieces[token]) for token in rest} == {1}
    text_tokens = tokenizer().encode([" 1234 = abcd\n" * 9, "".join(map(chr, range(1, 500)))])
    tags = {int(documents.tokens[0])}
    assert not tags & set(text_tokens.tolist())
    assert tag(task) >= 256


def test_the_mixture_keeps_its_shares_in_every_stretch(data_cache: Path) -> None:
    corpus = mixed_corpus(data_cache)
    counts = corpus.report["tasks"]
    for config in TASK_CONFIGS:
        own = [counts[f"{config.name} {length}"] for length in config.lengths]
        assert sum(row["share"] for row in own) == pytest.approx(config.share, rel=0.05)
        assert [row["held_out"] for row in own] == [
            config.name == MARKOV or FAMILIES[config.name].held_out(length) for length in config.lengths
        ]
    assert sum(row["tokens"] for row in counts.values()) == corpus.n_train_tokens
    assert corpus.tokenizer is not None
    first_tag = corpus.tokenizer.separator - len(TASKS)
    tags = (corpus.train >= first_tag) & (corpus.train < corpus.tokenizer.separator)
    by_part = [part.mean() for part in np.array_split(tags, 4)]
    assert max(by_part) < 1.2 * min(by_part)
    assert not (corpus.eval[corpus.eval != corpus.tokenizer.separator] >= first_tag).any()


def test_a_mixture_reaches_the_workers_whole(tmp_path: Path) -> None:
    config = data_config(tmp_path)
    assert DataConfig.from_dict(json.loads(json.dumps(asdict(config)))) == config


def test_other_shares_are_another_corpus(data_cache: Path) -> None:
    first = mixed_corpus(data_cache)
    other = mixed_corpus(data_cache, (replace(TASK_CONFIGS[0], share=0.2), *TASK_CONFIGS[1:]))
    assert first.corpus_id != other.corpus_id
    assert first.tokenizer_id == other.tokenizer_id
    assert (first.eval == other.eval).all()


def test_test_problems_in_the_text_are_found() -> None:
    index = np.arange(1_000)
    problems = draw("addition", 2, TEST, index, np.zeros_like(index), test=True)
    shown = [text(row) for row in np.concatenate([problems.prompt, problems.answer], axis=1)]
    tasks = (TaskConfig("addition", 0.1, (1, 2)), TaskConfig("copy", 0.1, (4,)))
    texts = [f"we know that {shown[3]}", shown[7] + " and so", "x = 12+3; y = 'abcd=abcd'"]
    assert contamination(tasks, texts) == {
        "addition 2": {"problems": 1_000, "found": len({shown[3], shown[7]})},
        "copy 4": {"problems": 1_000, "found": 0},
    }


@settings(max_examples=50, deadline=None)
@given(
    texts=st.lists(st.text(alphabet="ab=", max_size=60), min_size=1, max_size=4),
    strings=st.sets(st.text(alphabet="ab=", min_size=PREFIX, max_size=9), max_size=20),
)
def test_strings_are_found_exactly_where_they_occur(texts: list[str], strings: set[str]) -> None:
    expected = {string.encode() for string in strings if any(string in text for text in texts)}
    assert occurring({string.encode() for string in strings}, texts) == expected


def test_items_are_held_out_problems_alone_and_in_documents() -> None:
    items = task_items(TASK_CONFIGS, 96, tokenizer(), 128)
    groups = {(g.task, g.length, g.n_shot): g for g in items.groups}
    assert groups["addition", 1, 0].split == SEEN
    assert groups["addition", 2, 0].split == HELD_OUT
    assert {n for task, length, n in groups if (task, length) == ("addition", 2)} == {0, 1, 2, 4, 8}
    for (task, length, n_shot), group in groups.items():
        assert len(group.sequences) == (96 if n_shot == 0 else 12)
        assert group.sequences.shape[1] <= 129
        for sequence, right in zip(group.sequences, group.right, strict=True):
            *shown, asked = tokenizer().decode(sequence[2 : group.end]).split("\n")
            assert len(shown) == n_shot
            prompt = asked[: -group.n_positions]
            assert solve(task, length, prompt) in (None, tokenizer().decode(right))
            if task == "addition" and length == 2:
                pair = tuple(sorted(map(int, prompt.strip("=").split("+"))))
                assert pair in held_out_sums()
    assert len(np.unique(groups["addition", 2, 0].sequences, axis=0)) == 96
    assert groups["addition", 2, 1].sequences is groups["addition", 2, 8].sequences
    assert {g.n_shot for g in task_items(TASK_CONFIGS, 8, tokenizer(), 32).groups if g.length == 2} == {
        0,
        1,
        2,
        4,
    }


@pytest.mark.parametrize(("task", "length"), CASES)
def test_wrong_answers_are_wrong_and_differ(task: str, length: int) -> None:
    (group, *_) = task_items((TaskConfig(task, 0.1, (length,)),), 80, tokenizer(), 128).groups
    right = group.right[: len(group.wrong)]
    answers = np.concatenate([right[:, None], group.wrong], axis=1)
    assert [len({tuple(answer) for answer in row}) for row in answers.tolist()] == [answers.shape[1]] * len(
        answers
    )
    assert answers.shape[1] == {"functions": 2, "recall": min(4, length)}.get(task, 4)
    assert group.n_shot == 0
    assert NEWLINE not in group.wrong


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (TaskConfig("adition", 0.1, (1,)), ["data.tasks.adition", "addition"]),
        (TaskConfig("copy", 0.1, (400,)), ["data.tasks.copy.lengths=[400]", "120 tokens"]),
        (TaskConfig("copy", 0.1, (0,)), ["lengths=[0]", "at least 1"]),
        (TaskConfig("copy", 0.0, (4,)), ["share=0", "~data.tasks.copy"]),
        (TaskConfig("copy", 1.0, (4,)), ["100%", "lower their shares"]),
        (TaskConfig("markov", 0.1, (5,)), ["4 states", "data.tasks.markov.lengths=[4]"]),
    ],
)
def test_a_mixture_that_cannot_be(task: TaskConfig, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        check_tasks((task,), "bpe")
    assert [word for word in words if word not in str(caught.value)] == []


def test_tags_need_a_learned_vocabulary() -> None:
    check_lengths("copy", (4, 8))
    with pytest.raises(InputError, match=r"data\.tokenizer=bytes"):
        check_tasks(TASK_CONFIGS, "bytes")
