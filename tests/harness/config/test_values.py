"""Types and ranges of typed values, wherever a number stands."""

from __future__ import annotations

from typing import Any

import pytest

from harness.config.schema import SweepSettings
from harness.config.settings import load
from harness.config.values import MAX_SHOWN, check_value, kind_of, shown
from harness.records.errors import InputError
from tests.small_sweeps import SMALL


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optim.hidden_lr_exponent=nan", ["a finite one"]),
        ("optim.hidden_lr_exponent=-inf", ["a finite one"]),
        ("optim.hidden_lr_exponent=1e400", ["a finite one"]),
        ("optim.hidden_lr_exponent=1e50", ["out of range", "below 32"]),
        ("grid.flops=[inf]", ["a finite one"]),
        ("grid.flops=[1e50]", ["out of range"]),
        ("grid.lr_scale={hidden: [nan]}", ["a finite one"]),
        ("grid.lr_scale={hidden: [-1]}", ["-1.0 in grid.lr_scale", "above 0"]),
        ("grid.lr_scale={a:1}", ["type for example grid.lr_scale={hidden: [0.5,1.0,2.0]}"]),
        ("data.packages=[[1]]", ["data.packages=[[1]]", "a list of names"]),
        (
            "grid.rungs=[16,{d_model: 64, depth: 2}]",
            ["in its entry {d_model: 64, depth: 2}", "depth is none of them"],
        ),
        ("grid.seeds=[99999999999999999999999]", ["a smaller one"]),
        (f"grid.seeds=[{'9' * 500}]", ["…"]),
        ("grid.n_tokens=[9999999999999999999]", ["a smaller one"]),
        ("grid.rungs=[33554432]", ["out of range"]),
        ("launcher.n_workers=1000000000", ["out of range"]),
        ("optim.batch_size=1000000000", ["out of range"]),
        ("model.mlp_ratio=1e300", ["a smaller one"]),
        ("model.mlp_ratio=1e30", ["out of range"]),
        ("data.max_epochs=1e50", ["out of range"]),
        (
            "grid.extra=[{d_model: -16, n_tokens: [4096], seeds: [1]}]",
            ["-16 in grid.extra.d_model", "at least 1"],
        ),
        ("grid.extra=[{d_model: 16, n_tokens: [-1], seeds: [1]}]", ["-1 in grid.extra.n_tokens"]),
        (
            "grid.extra=[{d_model: 16, n_tokens: [4096], seeds: [-1]}]",
            ["-1 in grid.extra.seeds"],
        ),
        ("grid.extra=[{d_model: 16}]", ["n_tokens and seeds must be given"]),
        ("grid.extra=[{d_model: 16, n_tokens: [1], seeds: [1], depth: 2}]", ["depth is none"]),
        ("grid.extra=[16]", ["a list of mappings", "16"]),
        ("+grid.budgets.quick.seeds=[-1]", ["-1 in grid.budgets.quick.seeds"]),
        ("grid.name=../x", ["grid.name=../x", "letters"]),
        ("+launcher.sbatch.x=[[[[[[[[[[[[[[1]]]]]]]]]]]]]]", ["brackets"]),
        ("+launcher.sbatch.x={1: 2}", ["names were expected"]),
        ("+launcher.sbatch.x=nan", ["a finite one"]),
        ("model.qk_norm=3.5", ["true or false"]),
        ("model.n_layers=true", ["a whole number"]),
        ("data.branching=100000", ["data.branching=100000 successors", "at most"]),
    ],
)
def test_a_value_that_no_sweep_can_have(override: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_with_corpus([*SMALL, override])
    text = str(caught.value)
    assert [word for word in words if word not in text] == []
    assert len(text) < 3 * MAX_SHOWN


def load_with_corpus(arguments: list[str]) -> None:
    """Settings, and the source that they describe."""
    from harness.data.synthetic import make_source

    data = load(arguments).data
    make_source(data.vocab_size, data.markov_order, data.branching, data.zipf, data.source_seed)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("grid.seeds", [0, 2**62]),
        ("grid.lr_scale", {"hidden": [1, 2.0]}),
        ("grid.holdout_factor", 4),
        ("grid.holdout_factor", None),
        ("model.qk_norm", "yes"),
        ("model.n_layers", "3"),
        ("data.text_field", 3),
        ("launcher.sbatch", {"mem": "8G", "exclusive": True, "nice": 3, "list": [1, None]}),
        ("data.tasks.copy", {"share": 0.1, "lengths": [4]}),
    ],
)
def test_a_value_that_fits(key: str, value: Any) -> None:
    check_value(key, kind_of(key, SweepSettings), value)


def test_an_unknown_key_has_no_type() -> None:
    assert kind_of("grid.nothing", SweepSettings) is None
    assert kind_of("grid.seeds.0", SweepSettings) is None


def test_a_long_value_is_cut() -> None:
    assert len(shown("x" * 1000)) == MAX_SHOWN + 1
    assert shown([None, True, 1.5, "a", {"b": 10**400}]) == "[null,true,1.5,a,{b: an integer of 1329 bits}]"
