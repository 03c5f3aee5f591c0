"""Settings of a sweep: composed by Hydra from sweeps/, with overrides, and validated once."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from yaml import YAMLError  # OmegaConf lets it through

from harness.config.arms import arm_settings
from harness.config.cells_file import take_file
from harness.config.checks import check_budget, check_choices, check_ranges, check_together
from harness.config.context import BATCH, THETA, Usual, followed
from harness.config.overrides import (
    PATH_KEYS,
    SWEEPS,
    WHOLE,
    Override,
    key_of,
    options,
    read,
    split,
    without_control,
)
from harness.config.rungs import check_head_dim, head_dim_of, settle_rungs
from harness.config.schema import DEFAULT_BUDGET, SweepSettings
from harness.config.values import check_value, converted, kind_of, shown
from harness.data.text.tokenizer import KINDS
from harness.records.errors import InputError

# Characters of a file of optim settings; ours have a thousand.
MAX_YAML = 100_000


@dataclass(frozen=True)
class Loaded:
    """Settings as composed, and what followed from them by itself.

    Attributes:
        settings: the settings, with a number wherever a rule gave one.
        notes: a sentence for each number that a rule gave.
    """

    settings: SweepSettings
    notes: tuple[str, ...] = ()


def load(arguments: list[str], stored: dict[str, Any] | None = None) -> SweepSettings:
    """Return the settings of `load_noted`, without its notes."""
    return load_noted(arguments, stored).settings


def load_noted(arguments: list[str], stored: dict[str, Any] | None = None) -> Loaded:
    """Compose sweeps/config.yaml with overrides and validate the result.

    A context of another length takes along what nobody gave: see `harness.config.context`.

    Args:
        arguments: `key=value` as on the command line. `optim=FILE.yaml` sets every key of the file, such as
            the optim.yaml of a learning-rate sweep. `cells=FILE.yaml` adds the cells of the file.
        stored: configuration of an earlier sweep, which the overrides change; None starts from the grid.

    Raises:
        InputError: a key is unknown, or a value does not fit.
    """
    arguments = [item for given in arguments for item in _unfold(without_control(given))]
    file, arguments = take_file(arguments)
    if file is not None:
        if file.extends is not None and stored is None:
            raise InputError(f"{file.path} extends the sweep in {file.extends}, whose record was expected")
        arguments = [*file.overrides(_listed(stored)), *arguments]
    if stored is not None:
        check_stored(stored)
        if not any(item.startswith("+grid=") for item in arguments):
            arguments = [f"+grid={stored['grid']['name']}", *arguments]
    choices, others = split(arguments)
    overrides = read(others, known_keys(), SweepSettings)
    # Hydra keeps one global state, and a second composition in the same process would fail.
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(SWEEPS), version_base="1.3"):
        composed = compose("config", choices)
    values: Any = OmegaConf.to_container(composed)
    own_context = values["model"]["seq_len"]
    # Paths are set behind OmegaConf's back, which would take `${` in them for something to resolve.
    paths: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    if stored is not None:
        kept = _kept(stored, choices, paths)
        values = _merged(values, kept)
        # A stored grid is whole: what today's file adds to it would give other cells.
        values["grid"] = kept.get("grid", values["grid"])
    usual = _usual(values, own_context, stored, kept)
    # What the user sets goes before what the grid sets, and decides which grid and budget that is.
    of_grid = [o for o in overrides if o.key == "budget" or o.key.startswith("grid.")]
    for override in of_grid:
        _apply(values, override)
    settle_rungs(values["grid"], [override.key for override in of_grid])
    head_dim = head_dim_of(values["grid"], values["budget"])
    of_ladder = [] if head_dim is None else [Override("model.head_dim", head_dim)]
    others_set = _of_grid(values, kept) + of_ladder + [o for o in overrides if o not in of_grid]
    for override in others_set:
        if override.key in PATH_KEYS:
            paths[override.key] = override.value
        else:
            _apply(values, override)
    values = converted(SweepSettings, values)
    try:
        settings = OmegaConf.to_object(OmegaConf.merge(schema(), values))
    except MissingMandatoryValue as error:
        where = "the grid's file" if stored is None else "the stored configuration"
        raise InputError(
            f"{where} has no value for {error.full_key}, which every sweep needs; write it there, or type "
            f"{error.full_key}=VALUE"
        ) from error
    assert isinstance(settings, SweepSettings)
    for key, value in paths.items():
        section, _, name = key.rpartition(".")
        setattr(getattr(settings, section) if section else settings, name, value)
    check_choices(settings)
    check_budget(settings, DEFAULT_BUDGET)
    check_ranges(settings)
    check_head_dim(settings.model.head_dim, head_dim)
    given = {override.key for override in others_set}
    settings, notes = followed(_with_own_vocabulary(settings, given), usual, given)
    check_together(settings)
    arm_settings(settings)
    return Loaded(settings, tuple(notes))


def _with_own_vocabulary(settings: SweepSettings, given: Collection[str]) -> SweepSettings:
    """Return settings in which the tokenizer that a mixture is given has the number of ids that it has.

    The number in sweeps/ is for a tokenizer that is learned; 0 stands for that of the file.

    Args:
        settings: settings as composed.
        given: keys that the user or the grid gave, which stay.
    """
    data = settings.data
    is_learned = data.name != "mixture" or data.tokenizer in KINDS
    if is_learned or "data.tokenizer" not in given or "data.vocab_size" in given:
        return settings
    return replace(settings, data=replace(data, vocab_size=0))


def _usual(
    values: dict[str, Any], own_context: int, stored: dict[str, Any] | None, kept: dict[str, Any]
) -> dict[str, Usual]:
    """Return what a context takes along, each with the context that it is made for.

    Args:
        values: the composed configuration, before overrides.
        own_context: model.seq_len of sweeps/.
        stored: configuration of an earlier sweep, or None.
        kept: its part that counts; a section that it lacks is that of sweeps/.
    """
    stored_context = (stored or {}).get("model", {}).get("seq_len", own_context)
    found = {}
    for key in (THETA, BATCH):
        section, _, name = key.partition(".")
        found[key] = Usual(values[section][name], stored_context if section in kept else own_context)
    return found


def _listed(stored: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the cells that a stored configuration lists."""
    grid = (stored or {}).get("grid")
    return list(grid.get("cells") or []) if isinstance(grid, dict) else []


def _of_grid(values: dict[str, Any], kept: dict[str, Any]) -> list[Override]:
    """Return the values that a grid, or its budget, gives to keys outside of it.

    Args:
        values: the composed configuration, with the grid and the budget that the user asks for.
        kept: the part of a stored configuration that counts; its values are those of its budget already.
    """
    grid, budget = values["grid"], values["budget"]
    preset = (grid.get("budgets") or {}).get(budget) or {}
    given = preset.get("settings") if grid.get("settings") is None else grid["settings"]
    same_budget = kept.get("budget") == budget
    found = []
    for key, value in (given or {}).items():
        kind = kind_of(key, SweepSettings)
        if kind is None or key.startswith("grid."):
            raise InputError(
                f"grid.settings has the key {shown(key)}, expected one of another section, such as "
                "data.eval_tokens; correct it in the grid file"
            )
        check_value(key, kind, value)
        if not (same_budget and key.split(".")[0] in kept):
            found.append(Override(key, value))
    return found


def _apply(values: dict[str, Any], override: Override) -> None:
    """Set the key of an override in nested dicts, or remove it."""
    *above, name = override.key.split(".")
    for part in above:
        # A mapping that is null or missing begins empty.
        values[part] = values.get(part) or {}
        values = values[part]
    if override.key in WHOLE and not override.removes:
        values[name] = override.value
    elif not override.removes:
        values[name] = _merged(values.get(name), override.value)
    elif name in values:
        del values[name]
    else:
        mapping, there = ".".join(above), ", ".join(values) or "nothing"
        raise InputError(f"~{override.key} removes an entry that {mapping} lacks; it has {there}")


def _merged(old: Any, new: Any) -> Any:
    """Return a new value, in which a mapping keeps the keys of the old one that it does not set."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return old | {key: _merged(old.get(key), value) for key, value in new.items()}


def check_stored(stored: dict[str, Any]) -> None:
    """Raise InputError unless a stored configuration has the keys and types of the schema."""
    for key, value in stored.items():
        kind = kind_of(key, SweepSettings)
        if kind is None:
            raise InputError(
                f"the stored configuration has the key {shown(key)}, which this version does not know; "
                "check out the code revision that wrote it"
            )
        # A path may hold `${`, which is refused anywhere else.
        part = (
            {name: entry for name, entry in value.items() if f"{key}.{name}" not in PATH_KEYS}
            if isinstance(value, dict)
            else value
        )
        if key not in PATH_KEYS:
            check_value(key, kind, part)
    name = stored.get("grid", {}).get("name")
    if name not in options("grid"):
        raise InputError(
            f"the stored configuration has grid.name={shown(name)}, which is no grid of this version; "
            f"those are {', '.join(options('grid'))}"
        )


def resolved_yaml(settings: SweepSettings) -> str:
    """Return the whole configuration as YAML."""
    text: str = yaml.safe_dump(plain(settings), sort_keys=False, allow_unicode=True)
    return text


def plain(settings: Any) -> Any:
    """Return settings as nested dicts and lists."""
    return asdict(settings)


def _kept(stored: dict[str, Any], choices: list[str], paths: dict[str, Any]) -> dict[str, Any]:
    """Return the stored configuration without chosen groups (`launcher=slurm`) and without paths.

    Paths go into `paths`.
    """
    replaced = {key_of(item) for item in choices if item != f"+grid={stored['grid']['name']}"}
    kept = {key: dict(value) if isinstance(value, dict) else value for key, value in stored.items()}
    kept = {key: value for key, value in kept.items() if key not in replaced}
    for key in PATH_KEYS:
        section, _, name = key.rpartition(".")
        holder = kept.get(section, {}) if section else kept
        if name in holder:
            paths[key] = holder.pop(name)
    return kept


def _unfold(argument: str) -> list[str]:
    """Split `optim=FILE.yaml` into one override per key of the file; return others as they are."""
    if not re.fullmatch(r"optim=.*\.yaml", argument):
        return [argument]
    try:
        text = Path(argument.removeprefix("optim=")).expanduser().read_text()
        # An alias names a value twice, and a few of them in each other make billions.
        aliased = len(text) > MAX_YAML or any(isinstance(e, yaml.AliasEvent) for e in yaml.parse(text))
        content: Any = None if aliased else OmegaConf.to_container(OmegaConf.create(text))
    except (OSError, RuntimeError, ValueError, RecursionError, OmegaConfBaseException, YAMLError):
        content = None
    if not isinstance(content, dict) or not content:
        names = ", optim=".join(options("optim"))
        raise InputError(
            f"{argument}: expected a YAML file of optim settings, without aliases and with at most "
            f"{MAX_YAML:,} characters; type its path or optim={names}"
        )
    return [f"optim.{key}={json.dumps(value)}" for key, value in content.items()]


@cache
def schema() -> DictConfig:
    """Return types and defaults of all keys, which nobody may change; Hydra finds them by the name schema."""
    ConfigStore.instance().store(name="schema", node=SweepSettings)
    found = OmegaConf.structured(SweepSettings)
    assert isinstance(found, DictConfig)
    OmegaConf.set_readonly(found, True)
    return found


def known_keys() -> list[str]:
    """Return the dotted name of every key of the schema."""
    keys: list[str] = []

    def walk(prefix: str, node: Any) -> None:
        for name, value in node.items_ex(resolve=False):
            keys.append(prefix + name)
            if isinstance(value, DictConfig) and not value._is_none():
                walk(f"{prefix}{name}.", value)

    walk("", schema())
    return keys
