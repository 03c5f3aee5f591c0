"""Recipes of curation: one YAML file that says what is read, which steps follow, and who runs them.

Everything is checked here, without datatrove, so a mistake costs no start of a cluster.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.data.curation.pages import PAGE_SUFFIXES
from harness.data.text.corpora import TEXT_SUFFIXES, SourceFile, list_files
from harness.data.text.file_tokenizer import FileTokenizer, read_tokenizer
from harness.data.text.remote import is_remote
from harness.records.errors import InputError, near

NUMBER, COUNT, FLAG, TEXT, TEXTS, LIST, MAPPING = (
    "a number", "a whole number", "true or false", "a text", "a list of texts", "a list", "a mapping",
)  # fmt: skip
OR_NULL = " or null"
Options = dict[str, Any]
# What may stand in each part of a recipe. Names and meanings are those of datatrove's blocks, except for
# `read`, `extract`, `language`, `bad_words` and `tokenize`. Without an option, the block's default holds.
READ = {"path": TEXT, "text_field": TEXT, "url_field": TEXT}
TOKENIZE = {
    "tokenizer": TEXT,
    "separator": TEXT,
    "shuffle": FLAG,
    "seed": COUNT,
    "max_tokens_per_file": COUNT,
}
STEPS: dict[str, dict[str, str]] = {
    "url": {
        "extra_domains": TEXTS, "extra_urls": TEXTS, "banned_words": TEXTS, "banned_subwords": TEXTS,
        "soft_banned_words": TEXTS, "soft_word_threshold": COUNT, "use_integrated_lists": FLAG,
    },
    "extract": {"main_content": FLAG, "timeout": NUMBER},
    "language": {"keep": TEXTS, "min_score": NUMBER, "model": TEXT},
    "gopher_repetition": {
        "dup_line_frac": NUMBER + OR_NULL, "dup_para_frac": NUMBER + OR_NULL,
        "dup_line_char_frac": NUMBER + OR_NULL, "dup_para_char_frac": NUMBER + OR_NULL,
        "top_n_grams": LIST, "dup_n_grams": LIST,
    },
    "gopher_quality": {
        "min_doc_words": COUNT + OR_NULL, "max_doc_words": COUNT + OR_NULL,
        "min_avg_word_length": NUMBER + OR_NULL, "max_avg_word_length": NUMBER + OR_NULL,
        "max_symbol_word_ratio": NUMBER + OR_NULL, "max_bullet_lines_ratio": NUMBER + OR_NULL,
        "max_ellipsis_lines_ratio": NUMBER + OR_NULL, "max_non_alpha_words_ratio": NUMBER + OR_NULL,
        "min_stop_words": COUNT + OR_NULL, "stop_words": TEXTS,
    },
    "c4": {
        "split_paragraph": FLAG, "remove_citations": FLAG, "filter_no_terminal_punct": FLAG,
        "min_num_sentences": COUNT, "min_words_per_line": COUNT, "max_word_length": COUNT,
        "filter_lorem_ipsum": FLAG, "filter_javascript": FLAG, "filter_curly_bracket": FLAG,
        "filter_policy": FLAG,
    },
    "fineweb": {
        "line_punct_thr": NUMBER, "line_punct_exclude_zero": FLAG, "short_line_thr": NUMBER,
        "short_line_length": COUNT, "char_duplicates_ratio": NUMBER, "new_line_ratio": NUMBER,
    },
    "bad_words": {"file": TEXT},
    "minhash": {"n_grams": COUNT, "num_buckets": COUNT, "hashes_per_bucket": COUNT, "seed": COUNT},
    "pii": {
        "remove_emails": FLAG, "remove_ips": FLAG, "only_remove_public_ips": FLAG,
        "email_replacement": TEXTS, "ip_replacement": TEXTS,
    },
}  # fmt: skip
REQUIRED = {"read": ("path",), "tokenize": ("tokenizer",), "language": ("keep",), "bad_words": ("file",)}
COMMON = {"name": TEXT, "tasks": COUNT, "workers": COUNT}
ON_A_CLUSTER = {"cpus_per_task": COUNT, "mem_per_cpu_gb": COUNT}
EXECUTORS: dict[str, dict[str, str]] = {
    "local": COMMON,
    "slurm": {**COMMON, **ON_A_CLUSTER, "partition": TEXT, "minutes": COUNT, "qos": TEXT, "sbatch": MAPPING},
    "ray": {**COMMON, **ON_A_CLUSTER, "address": TEXT + OR_NULL},
}
PATHS = ("file", "model")  # options that name a file
EXTRACT = "extract"
KEYS = ("read", "steps", "tokenize", "output", "executor")


@dataclass(frozen=True)
class Step:
    """One step between reading and tokenising.

    Attributes:
        name: a key of STEPS.
        options: what the recipe says about it.
    """

    name: str
    options: Options


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    Attributes:
        read: options of READ.
        steps: steps in their order.
        tokenize: options of TOKENIZE.
        output: folder of the corpus.
        executor: options of one of EXECUTORS; its `tasks` decide how the corpus is cut, the others nothing.
    """

    read: Options
    steps: tuple[Step, ...]
    tokenize: Options
    output: str
    executor: Options

    @property
    def n_tasks(self) -> int:
        """Number of parts that are worked on apart."""
        return int(self.executor.get("tasks", 1))

    @property
    def extracts(self) -> bool:
        """Whether pages are read and their text is extracted."""
        return any(step.name == EXTRACT for step in self.steps)

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages whose version decides what is left."""
        return ("datatrove", "resiliparse") if self.extracts else ("datatrove",)

    def what_decides(
        self, files: Sequence[SourceFile], tokenizer: FileTokenizer, versions: Mapping[str, str]
    ) -> Options:
        """Return all that decides the bytes of the corpus, as JSON types; paths of the machine do not."""
        lists = [step.options[key] for step in self.steps for key in PATHS if key in step.options]
        steps = [
            [step.name, {k: v for k, v in step.options.items() if k not in PATHS}] for step in self.steps
        ]
        return {
            "input": _hash([(file.name, file.size, file.mtime_ns) for file in files]),
            "read": {key: value for key, value in self.read.items() if key != "path"},
            "steps": steps,
            "lists": _hash([hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in lists]),
            "tokenize": self.tokenize | {"tokenizer": tokenizer.tokenizer_id},
            "tasks": self.n_tasks,
            **versions,
        }

    def inputs(self) -> tuple[list[SourceFile], FileTokenizer]:
        """List the files to read and read the tokenizer.

        Raises:
            InputError: there are none, or the tokenizer has no separator.
        """
        files = self._files()
        tokenizer = read_tokenizer(self.tokenize["tokenizer"], key="tokenize.tokenizer")
        if self.separator(tokenizer) is None:
            raise InputError(
                f"{self.tokenize['tokenizer']} has no token known to stand behind a document; name one with "
                "tokenize.separator=TOKEN"
            )
        return files, tokenizer

    def _files(self) -> list[SourceFile]:
        """List the files to read: pages too if their text is extracted."""
        path = self.read["path"]
        try:
            return list_files(path, (*TEXT_SUFFIXES, *(PAGE_SUFFIXES if self.extracts else ())), "read.path")
        except InputError:
            if self.extracts or not _has_pages(path):
                raise
        raise InputError(f"read.path={path} holds pages of the web; add the step extract to get their text")

    def separator(self, tokenizer: FileTokenizer) -> str | None:
        """Return the token behind each document; None if the tokenizer has none that is known.

        Raises:
            InputError: the recipe names one that the tokenizer lacks.
        """
        named: str | None = self.tokenize.get("separator")
        if named is not None:
            if tokenizer.id_of(named) is None:
                raise InputError(
                    f"tokenize.separator={named} is no token of {self.tokenize['tokenizer']}; name one "
                    "that it has"
                )
            return named
        return None if tokenizer.separator is None else tokenizer.name_of(tokenizer.separator)


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: the YAML file.
        overrides: `KEY=VALUE` with dots between nested keys, which go before the file.

    Raises:
        InputError: the file cannot be read, or something in it is unknown, missing or of another type.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give the path of a recipe") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no YAML ({' '.join(str(error).split())}); mend it there") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds {_kind(content)}, expected the keys {', '.join(KEYS)}")
    for override in overrides:
        _override(content, override)
    _known(content, KEYS, "key", str(path))
    for key in ("read", "tokenize", "output"):
        if content.get(key) is None:
            raise InputError(f"{path} lacks {key}, expected one of {', '.join(KEYS)}; add it")
    output = content["output"]
    if not isinstance(output, str) or is_remote(output):
        raise InputError(f"output={output} is no folder of this machine; write there and copy it afterwards")
    steps = tuple(_step(each) for each in _listed(content.get("steps") or []))
    names = [step.name for step in steps]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"steps holds {twice} {names.count(twice)} times, expected it once; remove the rest")
    if EXTRACT in names and set(names[: names.index(EXTRACT)]) - {"url"}:
        raise InputError(
            f"steps holds {EXTRACT} behind {names[names.index(EXTRACT) - 1]}, which reads text; put it "
            "first, or behind url"
        )
    return Recipe(
        _options(content["read"], READ, "read"),
        steps,
        _options(content["tokenize"], TOKENIZE, "tokenize"),
        output,
        _executor(content.get("executor") or {}),
    )


def _has_pages(path: str) -> bool:
    try:
        return bool(list_files(path, PAGE_SUFFIXES, "read.path"))
    except InputError:
        return False


def _override(content: Options, override: str) -> None:
    """Put the value of `KEY=VALUE` into a recipe."""
    key, equals, text = override.partition("=")
    place, names = content, key.split(".")
    for name in names[:-1]:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            raise InputError(f"{override} goes into {name}, which is no mapping; change {name} in the recipe")
        place = inner
    if not equals or not names[-1]:
        raise InputError(f"{override} is no setting, expected KEY=VALUE such as output=FOLDER")
    try:
        place[names[-1]] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{override} has no value that YAML reads; put quotes around it") from error


def _listed(steps: Any) -> list[Any]:
    if not isinstance(steps, list):
        raise InputError(f"steps is {_kind(steps)}, expected a list such as [gopher_quality, minhash]")
    return steps


def _step(value: Any) -> Step:
    """Return the step that is written as `name` or as `name: {option: value}`."""
    entry = {value: {}} if isinstance(value, str) else value
    if not isinstance(entry, dict) or len(entry) != 1:
        raise InputError(f"steps holds {value!r}, expected the name of a step, or NAME: {{OPTION: VALUE}}")
    ((name, options),) = entry.items()
    _known([name], STEPS, "step", "steps")
    found = _options({} if options is None else options, STEPS[name], name)
    for key in PATHS:
        if key in found:
            # Absolute, because workers of a cluster may start elsewhere.
            path = Path(found[key]).expanduser().absolute()
            if not path.is_file():
                raise InputError(f"{name}.{key}={found[key]} does not exist; give an existing file")
            found[key] = str(path)
    return Step(name, found)


def _executor(value: Any) -> Options:
    if not isinstance(value, dict):
        raise InputError(f"executor is {_kind(value)}, expected for example {{name: local, tasks: 8}}")
    name = value.get("name", "local")
    _known([name], EXECUTORS, "executor", "executor.name")
    options = _options(value, EXECUTORS[name], "executor")
    for key in ("tasks", "workers", "minutes", "cpus_per_task", "mem_per_cpu_gb"):
        if options.get(key, 1) < 1:
            raise InputError(f"executor.{key}={options[key]} is below 1; type a larger one or leave it out")
    missing = [key for key in ("partition", "minutes") if name == "slurm" and key not in options]
    if missing:
        raise InputError(f"executor.{missing[0]} was expected for Slurm and is missing; add it")
    return {"name": name} | options


def _options(value: Any, kinds: Mapping[str, str], where: str) -> Options:
    """Return the options of one part of a recipe, each of its kind."""
    if not isinstance(value, dict):
        raise InputError(f"{where} is {_kind(value)}, expected options: {', '.join(kinds)}")
    _known(value, kinds, "option", where)
    for key, given in value.items():
        if not _is(given, kinds[key]):
            raise InputError(f"{where}.{key}={given} is {_kind(given)}, expected {kinds[key]}")
    for key in REQUIRED.get(where, ()):
        if value.get(key) is None:
            raise InputError(f"{where}.{key} was expected and is missing; add it to the recipe")
    return dict(value)


def _known(names: Any, known: Any, what: str, where: str) -> None:
    for name in names:
        if name not in known:
            hint = near(str(name), list(known)) or f"; use one of {', '.join(known)}"
            raise InputError(f"{where} holds the unknown {what} {name}{hint}")


def _is(value: Any, kind: str) -> bool:
    if kind.endswith(OR_NULL):
        return value is None or _is(value, kind.removesuffix(OR_NULL))
    if kind == TEXTS:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    types: dict[str, tuple[type, ...]] = {
        NUMBER: (int, float), COUNT: (int,), FLAG: (bool,), TEXT: (str,), LIST: (list,), MAPPING: (dict,),
    }  # fmt: skip
    # A bool is an int for Python, not for a reader.
    return isinstance(value, types[kind]) and (kind == FLAG or not isinstance(value, bool))


def _kind(value: Any) -> str:
    names = {bool: FLAG, int: COUNT, float: NUMBER, str: TEXT, list: LIST, dict: MAPPING}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
