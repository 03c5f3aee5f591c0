"""Rules that turn a shape into hyper-parameters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.grid import rules, token_rules
from harness.grid.rules import Rung
from harness.recipe.spec import GROUPS
from harness.records.errors import InputError
from tests.recipes import model
from tests.small_sweeps import settings


@pytest.mark.parametrize("d_model", [16, 64, 256])
def test_rates_follow_the_width_of_their_group(d_model: int) -> None:
    optim = settings("optim.hidden_lr=0.01", "optim.hidden_lr_exponent=-1", "optim.gain_lr_exponent=0").optim
    made = rules.optim_spec(Rung(d_model, 3), optim, {})
    assert made.lr.hidden == pytest.approx(0.01 * 64 / d_model)
    assert made.lr.gain == optim.gain_lr
    assert made.lr.embed == pytest.approx(optim.embed_lr * (d_model / 64) ** optim.embed_lr_exponent)
    assert made.lr.head == pytest.approx(optim.head_lr * (d_model / 64) ** optim.head_lr_exponent)


@pytest.mark.parametrize("group", GROUPS)
def test_a_scale_moves_one_group(group: str) -> None:
    optim, rung = settings().optim, Rung(32, 3)
    plain, scaled = rules.optim_spec(rung, optim, {}), rules.optim_spec(rung, optim, {group: 2.0})
    assert scaled.lr == replace(plain.lr, **{group: 2 * getattr(plain.lr, group)})


def test_shape_keeps_head_width_and_ratio() -> None:
    values = settings("model.head_dim=8", "model.mlp_ratio=2.5").model
    made = rules.model_spec(Rung(48, 5), values, 300)
    assert (made.n_layers, made.n_heads, made.head_dim, made.d_ff, made.vocab_size) == (5, 6, 8, 120, 300)


def test_swiglu_without_a_ratio_has_the_parameters_of_gelu_in_tiles() -> None:
    swiglu, gelu = (settings(f"model.mlp={mlp}", "model.mlp_ratio=null").model for mlp in ("swiglu", "gelu"))
    widths = {d_model: rules.mlp_width(d_model, swiglu) for d_model in (8, 16, 64, 96, 768, 1024, 4096)}
    assert widths == {8: 21, 16: 42, 64: 168, 96: 256, 768: 2048, 1024: 2688, 4096: 10880}
    assert rules.mlp_width(1000, gelu) == 4000
    ratio = settings("model.mlp=swiglu", "model.mlp_ratio=2.6667").model
    assert rules.mlp_width(64, ratio) == 171
    shapes = [rules.model_spec(Rung(d_model, 1), swiglu, 300) for d_model in (64, 16, 64)]
    assert rules.mlp_notes(shapes, swiglu)[0].endswith("d_ff is 42 at 16, 168 at 64")
    assert rules.mlp_notes(shapes, gelu) == rules.mlp_notes(shapes, ratio) == []


@pytest.mark.parametrize(("head_dim", "d_model"), [(16, 24), (3, 24), (64, 32)])
def test_heads_that_do_not_divide_the_width(head_dim: int, d_model: int) -> None:
    values = settings(f"model.head_dim={head_dim}").model
    with pytest.raises(InputError, match=f"head_dim={head_dim} and d_model={d_model}"):
        rules.model_spec(Rung(d_model, 1), values, 300)


def test_key_heads_are_a_count_or_a_share_at_every_rung() -> None:
    def kv_heads(d_model: int, *overrides: str) -> list[int | None]:
        made = rules.model_spec(Rung(d_model, 1), settings("model.head_dim=8", *overrides).model, 300)
        return [made.n_kv_heads, made.kv_heads, made.d_kv]

    assert kv_heads(64) == [None, 8, 64]
    assert [kv_heads(d_model, "model.n_kv_heads=2") for d_model in (16, 64)] == [[None, 2, 16], [2, 2, 16]]
    assert [kv_heads(d_model, "model.kv_group=4") for d_model in (32, 64)] == [[1, 1, 8], [2, 2, 16]]
    # Whatever says so, heads with keys of their own are the same rules.
    assert kv_heads(64, "model.kv_group=1") == kv_heads(64, "model.n_kv_heads=8") == kv_heads(64)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "model.kv_group=4",
            "rung d48 has n_heads=6, a multiple of model.kv_group=4 was expected; use model.kv_group=3, or "
            "widths that are multiples of 32",
        ),
        ("model.n_kv_heads=12", "rung d48 has n_heads=6, a multiple of model.n_kv_heads=12 .*n_kv_heads=6"),
    ],
)
def test_heads_that_do_not_share_keys_evenly(override: str, words: str) -> None:
    values = settings("model.head_dim=8", override).model
    with pytest.raises(InputError, match=words):
        rules.model_spec(Rung(48, 1), values, 300)


def test_windows_that_change_nothing_are_no_part_of_a_recipe() -> None:
    def windows(*overrides: str) -> tuple[int | None, int | None]:
        made = rules.model_spec(Rung(64, 3), settings("model.seq_len=32", *overrides).model, 300)
        return made.window, made.full_every

    assert windows("model.window=8", "model.full_every=2") == (8, 2)
    assert windows("model.window=8", "model.full_every=4") == windows("model.window=8") == (8, None)
    assert windows("model.window=32") == windows("model.window=8", "model.full_every=1") == (None, None)
    with pytest.raises(InputError, match=r"full_every=2 exempts .*model\.window is null; give"):
        windows("model.full_every=2")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.n_kv_heads=0", "at least 1"),
        ("model.kv_group=0", "at least 1"),
        ("model.window=0", "at least 1"),
        ("model.dropout=1", "at least 0 and below 1"),
        ("model.z_loss=-1", "at least 0"),
        ("model.mlp_ratio=0", "above 0"),
        ("model.tied_embeddings=2", "does not fit"),
    ],
)
def test_options_out_of_range_are_one_sentence(override: str, words: str) -> None:
    with pytest.raises(InputError, match=rf"{override}.*{words}"):
        settings(override)


def test_count_and_share_of_key_heads_exclude_each_other() -> None:
    with pytest.raises(InputError, match=r"n_kv_heads=1 and model\.kv_group=2 both.*take out the first"):
        settings("model.n_kv_heads=1", "model.kv_group=2")


def test_warmup_is_a_share_of_the_smallest_run() -> None:
    optim = settings("optim.warmup_frac=0.1").optim
    assert token_rules.warmup_steps(optim, 256 * 512, 512) == 26
    assert token_rules.warmup_steps(optim, 512, 512) == 1


def test_rules_name_what_is_broken() -> None:
    good = model(n_layers=4, d_model=64, vocab_size=512)
    assert rules.rule_breaks(2000, 0.2, good) == []
    assert [text.split(" ")[0] for text in rules.rule_breaks(499, 0.2, good)] == ["fewer", "fewer"]
    assert rules.rule_breaks(600, 0.1, good) == [f"fewer than {rules.MIN_COOLDOWN_STEPS} cooldown steps"]
    (vocabulary,) = rules.rule_breaks(2000, 0.2, model(n_layers=1, d_model=64, vocab_size=512))
    assert "vocabulary" in vocabulary
