"""Configuration: every YAML composes, nothing is hidden, mistakes are answered with one sentence."""

from __future__ import annotations

import dataclasses
import re
import typing

import pytest
import yaml
from omegaconf import OmegaConf

from harness.config import settings as config
from harness.config.schema import GridCells, SweepSettings
from harness.config.settings import SWEEPS, load, options, plain, resolved_yaml
from harness.records.errors import InputError
from harness.sweep.__main__ import main

GROUPS = sorted(path.name for path in SWEEPS.iterdir() if path.is_dir() and options(path.name))
FILES = [(group, name) for group in GROUPS for name in options(group)]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that the command prints when it refuses its input."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(("group", "name"), FILES)
def test_every_file_composes(group: str, name: str) -> None:
    chosen = [f"+grid={name}"] if group == "grid" else ["+grid=smoke", f"{group}={name}"]
    settings = load(chosen)
    assert getattr(settings, group) is not None
    for budget in settings.grid.budgets:
        assert load([*chosen, f"budget={budget}"]).budget == budget


@pytest.mark.parametrize("grid", options("grid"))
def test_a_grid_file_names_itself(grid: str) -> None:
    path = SWEEPS / "grid" / f"{grid}.yaml"
    assert path.read_text().splitlines()[0] == "# @package _global_"
    assert load([f"+grid={grid}"]).grid.name == grid


def keys_of(value: object, prefix: str = "") -> set[str]:
    if not isinstance(value, dict) or not value:
        return {prefix}
    return {key for name, item in value.items() for key in keys_of(item, f"{prefix}.{name}".lstrip("."))}


def schema_keys(kind: type, prefix: str = "") -> set[str]:
    """Dotted names of the schema's leaves, from the dataclasses alone."""
    hints = typing.get_type_hints(kind)
    found: set[str] = set()
    for field in dataclasses.fields(kind):
        name = f"{prefix}{field.name}"
        nested = hints[field.name]
        found |= schema_keys(nested, f"{name}.") if dataclasses.is_dataclass(nested) else {name}
    return found


def stated_keys() -> set[str]:
    """Keys that some file under sweeps/ sets; those of a budget count as the grid's."""
    stated: set[str] = set()
    for path in SWEEPS.rglob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        group = path.parent.name if path.parent != SWEEPS else ""
        prefix = "" if group in ("", "grid") else group
        stated |= keys_of(content, prefix)
    cells = {field.name for field in dataclasses.fields(GridCells)}
    of_grid = {key.split(".")[3] for key in stated if key.startswith("grid.budgets.")} & cells
    return stated | {f"grid.{name}" for name in of_grid}


def test_every_key_of_the_schema_stands_in_a_file() -> None:
    """No hidden default: what a sweep takes can be read under sweeps/."""
    stated = stated_keys()
    # max_flops only cuts a grid down, and a ladder takes the place of its rungs, for those who ask for it.
    missing = {
        key
        for key in schema_keys(SweepSettings) - {"grid.max_flops", "grid.ladder"}
        if not any(key == other or other.startswith(f"{key}.") for other in stated)
    }
    assert not missing


def test_the_whole_configuration_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["+grid=smoke", "--cfg", "optim.hidden_lr=0.5"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["optim"]["hidden_lr"] == 0.5
    assert printed == plain(load(["+grid=smoke", "optim.hidden_lr=0.5"]))
    assert "???" not in resolved_yaml(load(["+grid=smoke"]))


def test_overrides_and_null_reach_the_settings() -> None:
    settings = load(["+grid=smoke", "grid.seeds=[0,1]", "grid.holdout_factor=null", "results_dir=x"])
    assert (settings.grid.seeds, settings.grid.holdout_factor) == ([0, 1], None)
    assert settings.results_dir == "x"
    assert settings.grid.rungs == yaml.safe_load((SWEEPS / "grid/smoke.yaml").read_text())["grid"]["rungs"]


def test_a_budget_sets_keys_outside_of_the_grid_and_the_user_sets_them_again() -> None:
    def of(*overrides: str) -> int:
        return load(["+grid=chinchilla", *overrides]).data.eval_tokens

    quick, standard = of(), of("budget=standard")
    given = load(["+grid=chinchilla"]).grid.budgets["quick"].settings
    assert given == {"data.eval_tokens": quick}
    assert quick < standard == 1048576
    assert of("data=text", "data.path=x") == quick
    assert of("data.eval_tokens=65536") == 65536
    assert of("grid.settings={}") == standard
    with pytest.raises(InputError, match=r"grid\.settings has the key modle, expected one of another"):
        of("grid.settings={modle: 3}")
    with pytest.raises(InputError, match="does not fit"):
        of("grid.budgets.quick.settings={model: three}")


def test_a_stored_grid_without_a_key_that_is_needed_is_one_sentence() -> None:
    stored = plain(load(["+grid=smoke"]))
    del stored["grid"]["log_interval"]
    with pytest.raises(InputError, match=r"no value for grid\.log_interval, which every sweep needs"):
        load([], stored)
    assert load(["grid.log_interval=8"], stored).grid.log_interval == 8


def test_a_stored_grid_takes_nothing_from_the_file_of_today() -> None:
    """A record of an earlier version lacks keys that its grid has got since."""
    stored = plain(load(["+grid=chinchilla", "data.eval_tokens=1048576"]))
    quick = stored["grid"]["budgets"]["quick"]
    for key in ("fit_seeds", "settings"):
        del stored["grid"][key], quick[key]
    again = load([], stored)
    assert again.data.eval_tokens == 1048576
    assert again.grid.budgets["quick"].fit_seeds is None
    # What was resolved once stays, and another budget brings its own.
    stored = plain(load(["+grid=chinchilla", "data.eval_tokens=65536"]))
    assert load([], stored).data.eval_tokens == 65536
    stored = plain(load(["+grid=chinchilla", "budget=standard"]))
    assert load(["budget=quick"], stored).data.eval_tokens == load(["+grid=chinchilla"]).data.eval_tokens


def test_without_a_grid_those_there_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused([], capsys)
    assert all(f"+grid={name}" in message for name in options("grid"))


def test_help_lists_the_grids(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    assert ", ".join(options("grid")) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["+grid=chinchila"], ["grid=chinchila", "did you mean chinchilla", "kaplan"]),
        (["grid=smoke"], ["+grid=smoke"]),
        (["+grid=smoke", "data=txt"], ["data=txt", "did you mean text", "synthetic"]),
        (["+grid=smoke", "launcher=slurn"], ["launcher=slurn", "local"]),
        (["+grid=smoke", "optim.hiden_lr=1"], ["optim.hiden_lr", "did you mean optim.hidden_lr"]),
        (["+grid=smoke", "modle.seq_len=2"], ["modle.seq_len", "did you mean model.seq_len"]),
        (["+grid=smoke", "seq_len=2"], ["seq_len", "did you mean model.seq_len"]),
        (["+grid=smoke", "bugdet=quick"], ["bugdet", "did you mean budget"]),
        (["+grid=smoke", "grid.rung=[16]"], ["grid.rung", "did you mean grid.rungs"]),
        (["+grid=smoke", "+grid.rung=[16]"], ["grid.rung", "did you mean grid.rungs"]),
        (["+grid=smoke", "++optim.hiden_lr=1"], ["optim.hiden_lr", "did you mean optim.hidden_lr"]),
        (["+grid=smoke", "--dryrun"], ["--dryrun", "did you mean dry_run"]),
        (["+grid=chinchilla", "budget=stndard"], ["budget=stndard", "did you mean standard", "quick"]),
        (["+grid=smoke", "budget=full"], ["budget=full", "smoke", "no budgets"]),
        (["+grid=smoke", "data.name=pyton"], ["data.name=pyton", "did you mean python"]),
        (["+grid=smoke", "data.tokenizer=bpee"], ["data.tokenizer=bpee", "bpe, bytes, none or the path of"]),
        (["+grid=smoke", "data.tokenizer=none"], ["data.tokenizer=none belongs to data=tokens"]),
        (["+grid=smoke", "model.mlp=gleu"], ["model.mlp=gleu", "did you mean gelu"]),
        (["+grid=smoke", "optim.schedule=cosin"], ["optim.schedule=cosin", "did you mean cosine", "linear"]),
        (["+grid=smoke", "keep=point"], ["keep=point", "auto, none, last", "did you mean points"]),
        (["+grid=smoke", "keep_precision=fp64"], ["keep_precision=fp64", "use one of fp32, bf16"]),
        (["+grid=smoke", "keep_gb=-1"], ["keep_gb=-1", "at least 0"]),
        (["+grid=smoke", "optim=muom"], ["optim=muom", "did you mean muon", "schedule_free"]),
        (["+grid=smoke", "optim.name=adam"], ["optim.name=adam", "did you mean adamw", "muon"]),
    ],
)
def test_a_mistyped_name_suggests_the_near_one(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(arguments, capsys)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optim.hidden_lr=abc", "a number"),
        ("model.n_layers=1.5", "a whole number"),
        ("launcher.n_workers=two", "a whole number"),
        ("model.qk_norm=perhaps", "true or false"),
        ("grid.rungs=16", "type grid.rungs=[16]"),
        ("grid.seeds=[a]", "a list of whole numbers"),
        ("model.n_layers=null", "null"),
        ("grid.extra=[{d_model: 16}]", "n_tokens"),
        ("grid.rungs=[16,32", "[16,32"),
    ],
)
def test_a_wrong_type_names_key_value_and_what_was_expected(
    override: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key, value = override.split("=", 1)
    message = refused(["+grid=smoke", override], capsys)
    assert key in message
    assert value in message
    assert expected.lower() in message.lower()


@pytest.mark.parametrize(
    "override",
    [
        "optim.batch_size=0",
        "model.seq_len=-4",
        "model.n_layers=0",
        "model.head_dim=0",
        "grid.log_interval=0",
        "grid.resamples=0",
        "launcher.n_workers=0",
        "launcher.max_attempts=0",
        "mesh.data=0",
        "mesh.fsdp=-1",
        "data.max_epochs=0",
        "data.curve_eval_tokens=0",
        "optim.cooldown_frac=1.5",
        "optim.hidden_lr=-1",
        "optim.beta2=1.0",
        "grid.rungs=[16,-16]",
        "grid.n_tokens=[0]",
        "grid.flops=[-1.0]",
    ],
)
def test_a_number_out_of_range_names_key_value_and_range(
    override: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(["+grid=smoke", override], capsys)
    assert override.split("=")[0] in message
    assert re.search(r"between|at least|above", message)


def test_a_batch_that_the_mesh_does_not_divide(capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(["+grid=smoke", "mesh.data=3"], capsys)
    assert "optim.batch_size=4" in message
    assert "3" in message


def test_known_keys_are_those_of_the_schema() -> None:
    known = set(config.known_keys())
    assert schema_keys(SweepSettings) <= known
    assert OmegaConf.structured(SweepSettings).keys() <= known


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["optim.schedule=constant"], ["uncooled", "optim.schedule=wsd", "optim=schedule_free"]),
        (["optim=muon", "optim.schedule=constant"], ["optim.name=muon", "uncooled"]),
        (["optim=schedule_free", "optim.schedule=cosine"], ["optim.schedule=cosine", "optim=schedule_free"]),
        (["optim.name=schedule_free"], ["optim.schedule=wsd", "type optim=schedule_free"]),
        (["optim=schedule_free", "optim.beta1=0"], ["optim.beta1=0"]),
    ],
)
def test_an_optimiser_and_a_schedule_that_do_not_go_together(
    overrides: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(["+grid=smoke", *overrides], capsys)
    assert [word for word in words if word not in message] == []
