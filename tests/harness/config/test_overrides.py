"""What is typed: paths and text as they are, values by their key's type, one sentence for the rest."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest

from harness.config.overrides import OPEN_MAPPINGS, PATH_KEYS, near_key, without_control
from harness.config.settings import known_keys, load, plain
from harness.records.errors import InputError
from tests.small_sweeps import SMALL


def sentence(*arguments: str, stored: dict[str, Any] | None = None) -> str:
    """The error for these arguments: one line without a word of Hydra's or OmegaConf's."""
    with pytest.raises(InputError) as caught:
        load([*SMALL, *arguments], stored)
    text = str(caught.value)
    assert "\n" not in text
    for word in ("--multirun", "full_key", "Lexer", "viable", "Unknown function", "object_type", "Hydra"):
        assert word not in text
    return text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["grid.rungs=[16,", "32]"], ["cut off at a blank", "type grid.rungs=[16,32]"]),
        (["grid.rungs=[16,", "32,", "48]", "dry_run=true"], ["type grid.rungs=[16,32,48]"]),
        (["grid.rungs=[16,", "dry_run=true"], ["grid.rungs=[16,", "brackets"]),
        (["grid.seeds=0,1"], ["type grid.seeds=[0,1]"]),
        (["grid.seeds=choice(0,1)"], ["type grid.seeds=[0,1]"]),
        (["grid.seeds=0"], ["type grid.seeds=[0]"]),
        (["sinks=tensorboard"], ["type sinks=[tensorboard]"]),
        (["optim.hidden_lr=0.1,0.2"], ["one sweep for each"]),
        (["optim.hidden_lr=~"], ["a number was expected"]),
        (["optim.hidden_lr=x(1)"], ["a number was expected"]),
        (["32]"], ["32]", "no key=value"]),
        (["=3"], ["unknown key ''"]),
        (["hydra.verbose=true"], ["unknown key 'hydra.verbose'"]),
        (["~optim.beta1"], ["set it instead: optim.beta1=VALUE"]),
        (["~data.tasks.copy"], ["data.tasks lacks", "it has nothing"]),
        (["results_dir="], ["names no path"]),
        (["grid.n_tokens=[1e6]"], ["1000000.0", "type 1000000"]),
    ],
)
def test_one_sentence_says_what_to_type(arguments: list[str], words: list[str]) -> None:
    text = sentence(*arguments)
    assert [word for word in words if word not in text] == []


@pytest.mark.parametrize("key", PATH_KEYS)
@pytest.mark.parametrize(
    "path",
    [
        "my texts, v1 (second)",
        "~/x",
        "[/b]{a: 1}",
        'it\'s "so"',
        "a=b\\c",
        "${oc.env:HOME}",
        "${unclosed",
        "x{1,2}",
        "ünï ☃",
        "  leading and trailing ",
        "-1",
    ],
)
def test_a_path_is_taken_literally(key: str, path: str) -> None:
    section, _, name = key.rpartition(".")
    settings = load([*SMALL, f"{key}={path}"])
    assert getattr(getattr(settings, section) if section else settings, name) == path
    again = load([], plain(settings))
    assert getattr(getattr(again, section) if section else again, name) == path


def test_a_path_can_be_taken_back() -> None:
    stored = plain(load([*SMALL, "results_dir=x"]))
    assert load([], stored).results_dir == "x"
    assert load(["results_dir=null"], stored).results_dir is None


@pytest.mark.parametrize("text", ["gpu,debug", "a b (c)", "~x", "[half", "yes: no"])
def test_text_that_is_no_value_stands_for_itself(text: str) -> None:
    assert load([*SMALL, f"launcher.partition={text}"]).launcher.partition == text


def test_options_of_another_program_are_text_unless_they_begin_like_a_list() -> None:
    given = ["+launcher.sbatch.export=ALL,X=1", "+launcher.sbatch.nice=3", "+launcher.sbatch.list=[a,b]"]
    assert load([*SMALL, *given]).launcher.sbatch == {"export": "ALL,X=1", "nice": 3, "list": ["a", "b"]}


def test_quotes_around_text_are_taken_off_and_null_is_none() -> None:
    assert load([*SMALL, "launcher.partition='a,b'"]).launcher.partition == "a,b"
    assert load([*SMALL, "launcher.partition=null"]).launcher.partition is None


def test_control_characters_are_dropped() -> None:
    assert without_control("grid.seeds=[1]\r\n\x1b\ufeff") == "grid.seeds=[1]"
    settings = load([*SMALL, "grid.seeds=[1]\r", "\u200bresults_dir=a\x00b\x1b"])
    assert (settings.grid.seeds, settings.results_dir) == ([1], "ab")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("optim.lr", None),
        ("model.tie_embeddings", "model.tied_embeddings"),
        ("model.activation", None),
        ("nonsense", None),
        ("optim.hiden_lr", "optim.hidden_lr"),
        ("modle.seq_len", "model.seq_len"),
        ("optim.seq_len", "model.seq_len"),
        ("grid.rung", "grid.rungs"),
        ("seq_len", "model.seq_len"),
        ("bugdet", "budget"),
    ],
)
def test_a_key_is_suggested_only_if_it_is_near(key: str, expected: str | None) -> None:
    found = near_key(key, known_keys())
    assert found == (f"; did you mean {expected}?" if expected else "")


@pytest.mark.parametrize(
    "override",
    [
        "optim.hidden_lr=${oc.env:SECRET_OF_MINE}",
        "launcher.partition=${oc.env:SECRET_OF_MINE}",
        "+launcher.sbatch.comment=${oc.env:SECRET_OF_MINE}",
        "+launcher.sbatch.comment=[a,'${oc.env:SECRET_OF_MINE}']",
        "data.packages=['${oc.env:SECRET_OF_MINE}']",
        "grid.extra=[{d_model: '${oc.env:SECRET_OF_MINE}', n_tokens: [1], seeds: [0]}]",
        "+data.tasks.x='${oc.decode:${oc.env:SECRET_OF_MINE}}'",
    ],
)
def test_nothing_of_the_environment_is_resolved(override: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_MINE", "hunter2")
    text = sentence(override)
    assert "hunter2" not in text
    assert "SECRET_OF_MINE" in text


@pytest.mark.parametrize("key", ["launcher.partition", "data.text_field", "optim.hidden_lr", "grid.name"])
def test_nothing_of_a_stored_configuration_is_resolved(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_MINE", "hunter2")
    stored = plain(load(SMALL))
    section, name = key.split(".")
    stored[section][name] = "${oc.env:SECRET_OF_MINE}"
    with pytest.raises(InputError) as caught:
        load([], stored)
    assert "hunter2" not in str(caught.value)


WRONG = [None, True, float("nan"), -1, 0.5, "x", [], {}, [[1]], {"a": 1}, "${oc.env:HOME}"]


@pytest.mark.parametrize("section", ["data", "model", "optim", "grid", "launcher"])
def test_a_stored_configuration_is_checked_like_typed_values(section: str) -> None:
    """Every key with one of the wrong values: settings come back, or one sentence."""
    stored = plain(load(SMALL))
    refused = []
    for i, key in enumerate(stored[section]):
        spoilt = copy.deepcopy(stored)
        spoilt[section][key] = WRONG[i % len(WRONG)]
        try:
            load([], spoilt)
        except InputError as error:
            refused.append(str(error))
    assert refused
    assert all("\n" not in text for text in refused)
    with pytest.raises(InputError, match=section):
        load([], stored | {section: 5})


def test_an_unknown_key_of_a_stored_configuration_is_named() -> None:
    with pytest.raises(InputError, match="zzz"):
        load([], plain(load(SMALL)) | {"zzz": 1})


def test_entries_of_free_mappings_are_added_changed_and_removed() -> None:
    settings = load(["+grid=lr", "grid.lr_scale.hidden=[2.0]", "~grid.lr_scale.gain", "~grid.budgets.full"])
    assert settings.grid.lr_scale is not None
    assert settings.grid.lr_scale["hidden"] == [2.0]
    assert set(settings.grid.lr_scale) == {"hidden", "embed", "head"}
    assert "full" not in settings.grid.budgets
    assert "quick" in settings.grid.budgets
    added = load(
        [*SMALL, "+launcher.sbatch.mem=8G", "+launcher.resources.TPU=4", "+grid.budgets.quick.seeds=[3]"]
    )
    assert (added.launcher.sbatch, added.launcher.resources) == ({"mem": "8G"}, {"TPU": 4})
    assert added.grid.budgets["quick"].seeds == [3]
    assert all(mapping.endswith(".") for mapping in OPEN_MAPPINGS)


def test_a_file_of_optim_settings_that_is_none(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.yaml"
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    bomb.write_text("\n".join(lines))
    assert "expected a YAML file of optim settings, without aliases" in sentence(f"optim={bomb}")
    odd = tmp_path / "odd.yaml"
    for text in ("hidden_lr: ${oc.env:HOME}", "hidden_lr: .nan", "nonsense: 1", "[1, 2]", "a: [", "\x00"):
        odd.write_text(text)
        assert os.environ["HOME"] not in sentence(f"optim={odd}")
    odd.write_text("hidden_lr: 0.5")
    assert load([*SMALL, f"optim={odd}"]).optim.hidden_lr == 0.5
