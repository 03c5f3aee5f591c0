"""Arms of a grid as settings: what an arm may set, and what is refused in one sentence."""

from __future__ import annotations

import pytest

from harness.config.arms import arm_settings
from harness.config.settings import load
from harness.records.errors import InputError

TWO = "grid.arms={base: {}, swiglu: {model.mlp: swiglu, optim.hidden_lr: 0.01}}"


def test_an_arm_is_the_settings_with_its_overrides() -> None:
    settings = load(["+grid=compare", TWO, "model.n_layers=2"])
    found = arm_settings(settings)
    assert list(found) == ["base", "swiglu"]
    assert found["base"].model == settings.model
    assert (found["swiglu"].model.mlp, found["swiglu"].model.n_layers) == ("swiglu", 2)
    assert found["swiglu"].optim.hidden_lr == 0.01
    assert (found["swiglu"].data, found["swiglu"].grid.arms) == (settings.data, None)


def test_typed_arms_replace_those_of_the_grid_file() -> None:
    """A mapping keeps entries elsewhere; arms that nobody typed would be trained for nothing."""
    assert list(load(["+grid=compare", TWO]).grid.arms or {}) == ["base", "swiglu"]
    assert list(load(["+grid=compare"]).grid.arms or {}) == ["base", "no_key_shift", "swiglu"]
    added = load(["+grid=compare", "grid.arms.gelu_z={model.z_loss: 1e-4}"]).grid.arms
    assert list(added or {}) == ["base", "no_key_shift", "swiglu", "gelu_z"]


def test_a_grid_without_arms_has_none() -> None:
    assert arm_settings(load(["+grid=smoke"])) == {}


@pytest.mark.parametrize(
    ("arms", "text"),
    [
        (
            "{base: {}, x: {data.vocab_size: 256}}",
            "arm x sets data.vocab_size=256 and arms must not",
        ),
        (
            "{base: {}, x: {model.seq_len: 64}}",
            "arm x sets model.seq_len=64 and arms must not",
        ),
        ("{base: {}}", "grid.arms={base: {}} has one arm, expected two or more"),
        ("{base: {}, y: {model.mpl: gelu}}", "arm y sets model.mpl, expected a key of model or optim"),
        ("{base: {}, y: {grid.seeds: [1]}}", "arm y sets grid.seeds, expected a key of model or optim"),
        ("{base: {}, y: {model: moe}}", "arm y sets model, expected a key of model or optim"),
        ("{base: {}, y: {model.mlp: swigl}}", "arm y: model.mlp=swigl is not known"),
        (
            "{base: {}, y: {model.n_layers: two}}",
            "grid.arms.y: model.n_layers=two does not fit",
        ),
        ("{base: {}, y: {optim.hidden_lr: -1}}", "arm y: optim.hidden_lr=-1.0 is out of range"),
        ("{base: {}, y: {optim.schedule: constant}}", "arm y: optim.schedule=constant leaves the end points"),
        ("{base: {}, a/b: {model.mlp: swiglu}}", "has an arm 'a/b', expected a name of letters"),
        ("{base: swiglu}", "grid.arms={base: swiglu} does not fit: base: a mapping was expected"),
        (
            "[base]",
            "a mapping was expected; type for example grid.arms={base: {}, swiglu: ",
        ),
    ],
)
def test_wrong_arms_are_refused(arms: str, text: str) -> None:
    with pytest.raises(InputError) as error:
        load(["+grid=compare", f"grid.arms={arms}"])
    assert text in str(error.value)


def test_a_grid_of_learning_rates_has_no_arms() -> None:
    with pytest.raises(InputError, match=r"a grid of learning rates has no arms"):
        load(["+grid=lr", TWO])
