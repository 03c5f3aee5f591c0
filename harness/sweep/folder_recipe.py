"""Recipe of a results folder: settings that all its runs share, and the check that no others are mixed in."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from harness.config.schema import SweepSettings
from harness.config.settings import plain
from harness.data.prepare import FIELDS
from harness.data.text.remote import is_remote
from harness.recipe.run_id import recipe_dict
from harness.recipe.spec import RECIPE_VERSION, DataSpec
from harness.records.errors import Damaged, InputError
from harness.records.exclusive import write_new
from harness.records.files import json_text, write_json
from harness.records.json_files import read_checked, with_check
from harness.records.paths import SweepFolder
from harness.records.sweep_file import LOST, SweepRecord, find_sweep

# Parts of the recipe that are known only once the corpus is prepared.
OF_CORPUS = ("data.corpus_id", "data.tokenizer_id", "data.unigram_nats")
# Settings that choose the text; another value may still give the same text.
OF_TEXT = ("path", "text_field")
# Settings that hold paths, which may be typed in several ways.
PATHS = ("path", "eval_path", "tokenizer")


def recipe_of(settings: SweepSettings, data: DataSpec) -> dict[str, Any]:
    """Return the settings that all runs of a results folder must share, by dotted key."""
    sections = {
        "model": recipe_dict(settings.model),
        "optim": recipe_dict(settings.optim),
        "data": recipe_dict(data),
    }
    flat = {
        f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()
    }
    return flat | {"grid.log_interval": settings.grid.log_interval, "recipe_version": RECIPE_VERSION}


def check_recipe(folder: SweepFolder, recipe: dict[str, Any], unknown: Collection[str] = ()) -> None:
    """Raise InputError if the folder holds runs of another recipe, because their losses do not compare.

    Args:
        folder: folder of the sweep.
        recipe: what `recipe_of` returns.
        unknown: keys that are not compared.
    """
    before = _recorded(folder)
    if before is None or (key := _differing(before, recipe, unknown)) is None:
        return
    record = find_sweep(folder.sweep)
    if record and _differing(record.recipe, recipe, unknown) is None:
        # Only recipe.json differs: the one of another folder was copied here.
        raise Damaged(_claim(folder), f"{key} differs from that of sweep.json", LOST)
    raise _mixed(folder, key, before.get(key), recipe.get(key))


def _differing(before: Mapping[str, Any], now: Mapping[str, Any], unknown: Collection[str]) -> str | None:
    """Return the first key in which two recipes differ, those in `unknown` aside; None without one."""
    keys = sorted((before.keys() | now.keys()) - set(unknown))
    return next((key for key in keys if before.get(key) != now.get(key)), None)


def check_before_corpus(folder: SweepFolder, settings: SweepSettings, task_items: int) -> str | None:
    """Compare settings with those of the folder's runs, before a corpus is prepared, which may take minutes.

    Args:
        folder: folder of the sweep.
        settings: resolved settings.
        task_items: test items per task and length.

    Returns:
        A sentence on settings that may give another text, or None.

    Raises:
        InputError: the folder holds runs of another recipe, or of a corpus that cannot be the same, or its
            sweep.json cannot be read.
    """
    data = settings.data
    nothing = DataSpec("", "", 0.0, data.eval_tokens, data.curve_eval_tokens, task_items)
    check_recipe(folder, recipe_of(settings, nothing), (*OF_CORPUS, *_lowered(folder, settings)))
    record = record_before(folder)
    if record is None or not isinstance(record.config.get("data"), dict):
        return None
    before, now = record.config["data"], plain(data)
    names = ["name", "vocab_size", "tasks", *FIELDS.get(data.name, ())]
    differ = [
        name
        for name in names
        if name in before and _placed(name, before[name]) != _placed(name, now.get(name))
    ]
    for name in differ:
        if name not in OF_TEXT:
            raise _mixed(folder, f"data.{name}", before[name], now[name])
    if not differ:
        return None
    name = differ[0]
    return (
        f"{folder.root} was trained with data.{name}={before[name]} and data.{name}={now[name]} is given; "
        "if the text is another, it is refused once it is prepared"
    )


def _lowered(folder: SweepFolder, settings: SweepSettings) -> list[str]:
    """Return the key of the tokens to score if the corpus may have lowered them when the folder was begun."""
    key = "data.n_eval_tokens"
    before = (_recorded(folder) or {}).get(key, settings.data.eval_tokens)
    fixed = settings.strict or settings.data.name == "synthetic"
    return [key] if not fixed and settings.data.eval_tokens > before else []


def record_before(folder: SweepFolder) -> SweepRecord | None:
    """Return the record of earlier invocations; None without one, because then a folder starts anew.

    Raises:
        Damaged: the folder has runs, and a sweep.json that cannot be read, or that belongs to another sweep.
    """
    # Without its runs a folder starts anew as well, whatever its sweep.json says.
    if not folder.runs.exists() or not os.path.lexists(folder.sweep):
        return None
    found, claimed = find_sweep(folder.sweep), _claimed(folder)
    if found is None:
        raise Damaged(folder.sweep, "it holds no record of a sweep", LOST)
    if claimed is not None and found.recipe != claimed:
        raise Damaged(folder.sweep, "it is the record of another sweep", LOST)
    return found


def claim_recipe(folder: SweepFolder, recipe: dict[str, Any]) -> None:
    """Write the recipe of the folder's runs, which exactly one of several drivers can do first.

    Raises:
        InputError: another driver has begun runs of another recipe in this folder.
    """
    folder.runs.mkdir(parents=True, exist_ok=True)
    values = with_check(recipe)
    if not write_new(_claim(folder), json_text(values)):
        if _claimed(folder) is None:
            write_json(_claim(folder), values)
        check_recipe(folder, recipe)


def _claim(folder: SweepFolder) -> Path:
    """Return the file that holds the recipe of all runs."""
    return folder.runs / "recipe.json"


def _claimed(folder: SweepFolder) -> dict[str, Any] | None:
    """Return the recipe of the folder's runs; None if none is written, or it cannot be read."""
    try:
        found = read_checked(_claim(folder))
    except Damaged:
        return None
    return found if isinstance(found, dict) else None


def _recorded(folder: SweepFolder) -> dict[str, Any] | None:
    """Return the recipe of the folder's runs, if it has any."""
    if not folder.runs.exists():
        return None
    claimed = _claimed(folder)
    if claimed is not None:
        return claimed
    record = record_before(folder)
    return None if record is None else record.recipe


def _mixed(folder: SweepFolder, key: str, before: Any, now: Any) -> InputError:
    """Return the error for a folder whose runs have another value of a key."""
    return InputError(
        f"{folder.root} holds runs made with {key}={before} and this sweep has {key}={now}; choose another "
        "folder with results_dir=DIR or delete this one"
    )


def _placed(name: str, value: Any) -> Any:
    """Return a setting to compare it: paths without links and `~`, those of sources too."""
    if isinstance(value, dict):
        return {key: _placed(key, each) for key, each in value.items()}
    if name not in PATHS or not isinstance(value, str) or is_remote(value):
        return value
    return os.path.realpath(os.path.expanduser(value))
