"""Rules of transfer: what they set, and that activations then move alike at every width and depth."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax import nnx

from harness import coordinate_check
from harness.config.schema import SweepSettings
from harness.config.settings import load
from harness.coordinate_check import activation_changes, log_slope
from harness.grid.rules import Rung, model_spec, optim_spec
from harness.model.decoder import EMBED_STD, HEAD_INIT_SCALE, Decoder
from tests.small_sweeps import settings, small_cells

REFERENCE = Rung(64, 3)
FIXED = [f"optim.{group}_lr_exponent=0" for group in ("hidden", "embed", "head")]


def check(*overrides: str) -> SweepSettings:
    plain = ["model.seq_len=32", "model.qk_norm=false", "model.key_shift=false"]
    return load(["+grid=smoke", *plain, *overrides])


def slopes(values: SweepSettings, rungs: list[Rung], sizes: list[int]) -> list[float]:
    """Of the embedding, the last block and the logits."""
    found = [list(activation_changes(values, rung, seeds=(0, 1)).values()) for rung in rungs]
    return [log_slope(sizes, [row[index] for row in found]) for index in (0, -2, -1)]


def by_width(*overrides: str) -> list[float]:
    widths = [16, 128]
    return slopes(check(*overrides), [Rung(width, 1) for width in widths], widths)


def by_depth(*overrides: str) -> float:
    """Of the last block."""
    depths = [2, 3]
    return slopes(check(*overrides), [Rung(16, depth) for depth in depths], depths)[1]


@pytest.mark.parametrize("override", ["model.tied_embeddings=false", "model.tied_embeddings=true"])
def test_activations_move_alike_at_every_width_under_mup(override: str) -> None:
    assert max(map(abs, by_width("optim.transfer=mup", override))) < 0.15


def test_at_fixed_rates_wider_models_move_further() -> None:
    """The standard parametrisation fails the check, so the check can fail."""
    _, block, logits = by_width(*FIXED)
    assert block > 0.2
    assert logits > 0.5


def test_blocks_move_alike_at_every_depth_under_completep() -> None:
    assert abs(by_depth("optim.transfer=completep")) < 0.15
    assert by_depth("optim.transfer=mup") > 0.4


def test_every_rule_leaves_the_reference_shape_as_it_is() -> None:
    overrides = ("optim.weight_decay=0.1", "model.head_dim=16")
    specs = {}
    for rule in ("measured", "mup", "completep"):
        values = settings(*overrides, f"optim.transfer={rule}")
        shape = model_spec(REFERENCE, values.model, 300, rule)
        assert (shape.head_init_scale, shape.residual_scale) == (1.0, 1.0)
        assert shape.attention_scale in (None, 16**-0.5)
        optim = optim_spec(REFERENCE, values.optim, {})
        assert optim.hidden_weight_decay in (None, 0.1)
        specs[rule] = (optim.lr, optim.eps)
    assert specs["mup"] == specs["completep"] == specs["measured"]


def test_rates_and_multipliers_by_hand() -> None:
    """Twice as wide, twice as deep, heads four times as wide."""
    values = settings("optim.transfer=completep", "optim.weight_decay=0.1", "model.head_dim=64")
    base, rung = values.optim, Rung(128, 6)
    optim = optim_spec(rung, base, {})
    assert (optim.lr.hidden, optim.lr.embed) == (base.hidden_lr / 2, base.embed_lr)
    assert (optim.lr.head, optim.lr.gain) == (base.head_lr / 2, base.gain_lr)
    assert optim.eps == pytest.approx(base.eps / 4)
    assert (optim.weight_decay, optim.hidden_weight_decay) == (0.1, 0.2)
    shape = model_spec(rung, values.model, 300, "completep")
    assert (shape.residual_scale, shape.attention_scale) == (0.5, 1 / 16)
    assert shape.head_init_scale == pytest.approx(2**-0.5)
    muon = optim_spec(rung, settings("optim=muon", "optim.transfer=mup").optim, {})
    assert muon.lr.hidden == settings("optim=muon").optim.hidden_lr
    assert optim_spec(rung, settings("optim.transfer=mup").optim, {}).eps == base.eps


def test_initial_weights_follow_the_rule() -> None:
    """Head as 1/width, projections onto the residual stream independent of depth, embedding of width."""
    values = settings("optim.transfer=completep", "model.head_dim=16").model
    model = Decoder(model_spec(Rung(128, 6), values, 2000, "completep"), nnx.Rngs(jax.random.key(0)))
    assert np.std(model.embed[...]) == pytest.approx(EMBED_STD, rel=0.02)
    assert np.std(model.head.kernel[...]) == pytest.approx(HEAD_INIT_SCALE * 64**-0.5 / 2, rel=0.02)
    down = model.blocks[0].mlp.down.kernel[...]
    assert np.std(down) == pytest.approx((2 * 3) ** -0.5 * down.shape[0] ** -0.5, rel=0.02)


def test_the_rule_reaches_the_runs_and_the_default_is_no_part_of_their_identity() -> None:
    measured, mup = small_cells()[0].spec, small_cells("optim.transfer=mup")[0].spec
    assert small_cells("optim.transfer=measured")[0].spec.run_id == measured.run_id != mup.run_id
    assert (mup.model.head_init_scale, mup.model.residual_scale) == (2.0, 1.0)
    assert "head_init_scale" not in measured.to_dict()["model"]


def test_the_command_prints_a_slope_for_every_activation(capsys: pytest.CaptureFixture[str]) -> None:
    assert coordinate_check.main(["grid.rungs=[16]"]) == 2
    assert "grid.rungs=[16, 32, 64, 128]" in capsys.readouterr().err
    assert coordinate_check.main(["grid.rungs=[16,32]", "model.n_layers=1", "optim.transfer=mup"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("note: model.seq_len=32 takes along model.rope_theta=")
    assert all(word in printed for word in ("embedding", "block 1", "label's logit", "slope", "d32"))
