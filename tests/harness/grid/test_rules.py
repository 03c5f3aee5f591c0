"""Rules that turn a shape into hyper-parameters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.grid import rules as recipe
from harness.grid import token_rules
from harness.grid.rules import Rung
from harness.recipe.spec import GROUPS
from harness.records.errors import InputError
from tests.recipes import model
from tests.small_sweeps import settings


@pytest.mark.parametrize("d_model", [16, 64, 256])
def test_rates_follow_the_width_of_their_group(d_model: int) -> None:
    optim = settings("optim.hidden_lr=0.01", "optim.hidden_lr_exponent=-1", "optim.gain_lr_exponent=0").optim
    made = recipe.optim_spec(Rung(d_model, 3), optim, {})
    assert made.lr.hidden == pytest.approx(0.01 * 64 / d_model)
    assert made.lr.gain == optim.gain_lr
    assert made.lr.embed == pytest.approx(optim.embed_lr * (d_model / 64) ** optim.embed_lr_exponent)
    assert made.lr.head == pytest.approx(optim.head_lr * (d_model / 64) ** optim.head_lr_exponent)


@pytest.mark.parametrize("group", GROUPS)
def test_a_scale_moves_one_group(group: str) -> None:
    optim, rung = settings().optim, Rung(32, 3)
    plain, scaled = recipe.optim_spec(rung, optim, {}), recipe.optim_spec(rung, optim, {group: 2.0})
    assert scaled.lr == replace(plain.lr, **{group: 2 * getattr(plain.lr, group)})


def test_shape_keeps_head_width_and_ratio() -> None:
    values = settings("model.head_dim=8", "model.mlp_ratio=2.5").model
    made = recipe.model_spec(Rung(48, 5), values, 300)
    assert (made.n_layers, made.n_heads, made.head_dim, made.d_ff, made.vocab_size) == (5, 6, 8, 120, 300)


@pytest.mark.parametrize(("head_dim", "d_model"), [(16, 24), (3, 24), (64, 32)])
def test_heads_that_do_not_divide_the_width(head_dim: int, d_model: int) -> None:
    values = settings(f"model.head_dim={head_dim}").model
    with pytest.raises(InputError, match=f"head_dim={head_dim} and d_model={d_model}"):
        recipe.model_spec(Rung(d_model, 1), values, 300)


def test_warmup_is_a_share_of_the_smallest_run() -> None:
    optim = settings("optim.warmup_frac=0.1").optim
    assert token_rules.warmup_steps(optim, 256 * 512, 512) == 26
    assert token_rules.warmup_steps(optim, 512, 512) == 1


def test_rules_name_what_is_broken() -> None:
    good = model(n_layers=4, d_model=64, vocab_size=512)
    assert recipe.rule_breaks(2000, 0.2, good) == []
    assert [text.split(" ")[0] for text in recipe.rule_breaks(499, 0.2, good)] == ["fewer", "fewer"]
    assert recipe.rule_breaks(600, 0.1, good) == [f"fewer than {recipe.MIN_COOLDOWN_STEPS} cooldown steps"]
    (vocabulary,) = recipe.rule_breaks(2000, 0.2, model(n_layers=1, d_model=64, vocab_size=512))
    assert "vocabulary" in vocabulary
