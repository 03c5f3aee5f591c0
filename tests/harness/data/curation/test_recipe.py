"""Recipes of curation: what may stand in them, and the sentence for what may not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.data.curation.recipe import STEPS, Recipe, read_recipe
from harness.data.text.file_tokenizer import FileTokenizer
from harness.records.errors import InputError
from tests import ROOT

EXAMPLE = ROOT / "harness/data/curation/web.yaml"
SMALL: dict[str, Any] = {
    "read": {"path": "texts"},
    "steps": ["gopher_quality", {"minhash": {"n_grams": 3}}],
    "tokenize": {"tokenizer": "tokenizer.json"},
    "output": "curated",
}


def written(folder: Path, content: object) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def tokenizer_json(separator: str = "<|endoftext|>") -> str:
    """A byte-level tokenizer of 256 bytes and a separator."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    model = Tokenizer(
        models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])
    )
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    model.add_special_tokens([separator])
    return model.to_str()


def test_the_example_is_a_recipe_and_the_command_line_goes_before_it() -> None:
    recipe = read_recipe(EXAMPLE, ["executor.tasks=3", "output=elsewhere", "read.url_field=link"])
    assert [step.name for step in recipe.steps if step.name in STEPS][-2:] == ["minhash", "pii"]
    assert recipe.n_tasks == 3
    assert recipe.output == "elsewhere"
    assert recipe.read == {"path": "texts", "text_field": "text", "url_field": "link"}


def test_the_step_on_toxicity_needs_a_file_of_words_alone(tmp_path: Path) -> None:
    """The example has it as a comment, because no list comes along."""
    words = tmp_path / "words.txt"
    words.write_text("darn\n")
    text = EXAMPLE.read_text().replace(
        "  # - bad_words: {file: words.txt}", f"  - bad_words: {{file: {words}}}"
    )
    steps = {step.name: step.options for step in read_recipe(written(tmp_path, text)).steps}
    assert steps["bad_words"] == {"file": str(words)}


def test_a_step_is_a_name_or_a_name_with_options(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, SMALL))
    assert [(step.name, step.options) for step in recipe.steps] == [
        ("gopher_quality", {}),
        ("minhash", {"n_grams": 3}),
    ]
    assert recipe.executor == {"name": "local"}


WRONG: dict[str, tuple[object, str]] = {
    "no YAML": ("read: [", "is no YAML"),
    "no mapping": ("- read\n", "holds a list, expected the keys read, steps, tokenize, output, executor"),
    "unknown key": (SMALL | {"outptu": "x"}, "holds the unknown key outptu; did you mean output?"),
    "no output": ({key: SMALL[key] for key in ("read", "tokenize")}, "lacks output"),
    "remote output": (SMALL | {"output": "s3://a/b"}, "output=s3://a/b is no folder of this machine"),
    "steps": (SMALL | {"steps": "minhash"}, "steps is a text, expected a list"),
    "step": (
        SMALL | {"steps": ["gopher"]},
        "steps holds the unknown step gopher; use one of url, extract, ",
    ),
    "step misspelt": (SMALL | {"steps": ["min_hash"]}, "did you mean minhash?"),
    "two in one": (SMALL | {"steps": [{"c4": {}, "pii": {}}]}, "expected the name of a step, or NAME:"),
    "twice": (SMALL | {"steps": ["c4", "c4"]}, "steps holds c4 2 times, expected it once"),
    "option": (
        SMALL | {"steps": [{"minhash": {"ngrams": 5}}]},
        "unknown option ngrams; did you mean n_grams?",
    ),
    "type": (
        SMALL | {"steps": [{"minhash": {"n_grams": "5"}}]},
        "minhash.n_grams=5 is a text, expected a whole number",
    ),
    "bool": (
        SMALL | {"steps": [{"minhash": {"n_grams": True}}]},
        "is true or false, expected a whole number",
    ),
    "null": (SMALL | {"steps": [{"fineweb": {"line_punct_thr": None}}]}, "is null, expected a number"),
    "required": (SMALL | {"steps": ["language"]}, "language.keep was expected and is missing"),
    "file": (
        SMALL | {"steps": [{"bad_words": {"file": "none.txt"}}]},
        "bad_words.file=none.txt does not exist",
    ),
    "order": (
        SMALL | {"steps": ["url", "c4", "extract"]},
        "steps holds extract behind c4, which reads text; put it first, or behind url",
    ),
    "executor": (SMALL | {"executor": {"name": "slrum"}}, "unknown executor slrum; did you mean slurm?"),
    "Slurm": (SMALL | {"executor": {"name": "slurm", "minutes": 5}}, "executor.partition was expected"),
    "other executor's": (
        SMALL | {"executor": {"address": "auto"}},
        "executor holds the unknown option address",
    ),
    "tasks": (SMALL | {"executor": {"tasks": 0}}, "executor.tasks=0 is below 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_recipe_is_one_sentence(name: str, tmp_path: Path) -> None:
    content, sentence = WRONG[name]
    with pytest.raises(InputError) as caught:
        read_recipe(written(tmp_path, content))
    said = str(caught.value)
    assert sentence in said
    assert "\n" not in said
    assert not said.endswith(".")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("output", "output is no setting, expected KEY=VALUE"),
        ("output.a=1", "output.a=1 goes into output, which is no mapping"),
        ("read.path=[", "has no value that YAML reads"),
        ("read.path=5", "read.path=5 is a whole number, expected a text"),
    ],
)
def test_a_wrong_override_is_one_sentence(override: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence.replace(".", r"\.").replace("[", r"\[")):
        read_recipe(written(tmp_path, SMALL), [override])


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.jsonl").write_text(json.dumps({"text": "a"}) + "\n")
    (tmp_path / "tokenizer.json").write_text(tokenizer_json())
    here = {"read": {"path": str(texts)}, "tokenize": {"tokenizer": str(tmp_path / "tokenizer.json")}}
    return read_recipe(written(tmp_path, SMALL | here))


def test_inputs_are_listed_and_checked(recipe: Recipe, tmp_path: Path) -> None:
    files, tokenizer = recipe.inputs()
    assert [file.name for file in files] == ["a.jsonl"]
    assert recipe.separator(tokenizer) == "<|endoftext|>"
    recipe.read["path"] = str(tmp_path / "none")
    with pytest.raises(InputError, match=r"^read\.path=.*none does not exist"):
        recipe.inputs()


@pytest.mark.parametrize(
    ("content", "separator", "sentence"),
    [
        (None, None, r"^tokenize\.tokenizer=.* cannot be read"),
        ("{}", None, r"^tokenize\.tokenizer=.* is no tokenizer\.json of Hugging Face .*; give that file$"),
        (tokenizer_json("<end>"), None, r"no token known to stand behind a document"),
        (tokenizer_json(), "<end>", r"^tokenize\.separator=<end> is no token of "),
    ],
)
def test_a_tokenizer_that_will_not_do_is_one_sentence(
    content: str | None, separator: str | None, sentence: str, recipe: Recipe, tmp_path: Path
) -> None:
    path = tmp_path / "tokenizer.json"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    if separator:
        recipe.tokenize["separator"] = separator
    with pytest.raises(InputError, match=sentence):
        recipe.inputs()


def test_what_decides_the_corpus_is_no_path_and_no_executor(recipe: Recipe, tmp_path: Path) -> None:
    def decided(changed: Recipe, tokenizer: FileTokenizer | None = None) -> dict[str, Any]:
        files, found = changed.inputs()
        return changed.what_decides(files, tokenizer or found, {"datatrove": "1"})

    words = tmp_path / "words.txt"
    words.write_text("darn\n")
    before = decided(recipe)
    recipe.executor.update(name="ray", workers=2)
    (tmp_path / "texts").rename(tmp_path / "moved")
    recipe.read["path"] = str(tmp_path / "moved")
    assert decided(recipe) == before
    os.utime(tmp_path / "moved" / "a.jsonl", ns=(1, 1))
    assert {key for key, value in decided(recipe).items() if value != before[key]} == {"input"}
    recipe.executor["tasks"] = 2
    assert decided(recipe)["tasks"] == 2
    lists = read_recipe(
        written(tmp_path, SMALL | {"steps": [{"bad_words": {"file": str(words)}}]}),
        [f"read.path={tmp_path / 'moved'}", f"tokenize.tokenizer={tmp_path / 'tokenizer.json'}"],
    )
    before = decided(lists)
    words.write_text("drat\n")
    assert {key for key, value in decided(lists).items() if value != before[key]} == {"lists"}
