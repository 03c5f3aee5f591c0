"""Widths and token counts that cannot be had become the nearest that can."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest

from harness.config.settings import load
from harness.grid.cells import chosen_cells
from harness.grid.expansion import expand
from harness.grid.rounding import rounded
from harness.records.errors import InputError
from tests.small_sweeps import DATA, RASTER, SMALL, VOCAB


def test_whole_heads_and_whole_intervals() -> None:
    asked = load([
        *SMALL, "grid.rungs=[16,42,40]", "grid.n_tokens=[5000,1,8192]",
        "grid.extra=[{d_model: 30, n_tokens: [9000], seeds: [3]}]",
        "grid.references=[{d_model: 17, n_tokens: 10000, lr_scale: [1.0], seeds: [0]}]",
    ])  # fmt: skip
    found, notes = rounded(asked)
    # Halves go to the even number of heads.
    assert found.grid.rungs == [16, 48, 32]
    assert found.grid.n_tokens == [5 * RASTER, 4 * RASTER, 8192]
    assert (found.grid.extra or [])[0].d_model == 32
    assert (found.grid.references or [])[0].n_tokens == 10 * RASTER
    assert len(notes) == 2
    assert "d_model 42 became 48, 40 became 32, 30 became 32, 17 became 16: whole heads of 16" in notes[0]
    assert "n_tokens 5,000 became 5,120, 1 became 4,096" in notes[1]
    assert all(note.endswith("strict=true refuses instead") for note in notes)
    expand(found, DATA, VOCAB)
    with pytest.raises(InputError, match="rung d42"):
        expand(asked, DATA, VOCAB)


def test_what_can_be_had_stays() -> None:
    asked = load(SMALL)
    assert rounded(asked) == (asked, [])


def test_the_numbers_of_the_chosen_budget_are_rounded() -> None:
    asked = load(["+grid=chinchilla", "budget=standard", "model.head_dim=14"])
    found, notes = rounded(asked)
    widths = chosen_cells(found.grid, "standard").rungs or []
    assert all(width % 14 == 0 for width in widths)
    assert "whole heads of 14" in notes[0]
    assert found.grid.budgets["quick"] == asked.grid.budgets["quick"]


def test_token_counts_end_intervals_of_every_batch() -> None:
    scales = ["grid.lr_scale={hidden: [1.0]}", "grid.batch_sizes=[2,6]"]
    found, notes = rounded(load([*SMALL, *scales, "grid.holdout_factor=null", "grid.n_tokens=[8192]"]))
    assert found.grid.n_tokens == [5 * 6 * 32 * 8]
    assert "n_tokens 8,192 became 7,680: whole logging intervals of 1,536 tokens" in notes[0]
    assert len(expand(found, DATA, VOCAB)) == 2


CONTEXT = ["+grid=smoke", "grid.log_interval=8", "model.seq_len=32"]


def test_token_counts_that_would_become_the_same_are_refused_with_what_to_type() -> None:
    """A shorter context takes the batch along: 16 sequences, of which four intervals are 16,384 tokens."""
    asked = [*CONTEXT, "grid.n_tokens=[4096,8192,16384,32768]"]
    with pytest.raises(InputError) as refused:
        rounded(load(asked))
    said = str(refused.value)
    assert "n_tokens 4,096, 8,192 and 16,384 would become the same 16,384" in said
    assert "at least four, and one is 4,096 tokens (16 sequences of 32 × grid.log_interval=8)" in said
    assert said.endswith("or token counts 4,096 apart from 16,384 on")
    for key in ("optim.batch_size=4", "grid.log_interval=2"):
        assert key in said
        assert rounded(load([*asked, key]))[0].grid.n_tokens == [4096, 8192, 16384, 32768]
    with pytest.raises(InputError, match=r"30,000 and 30,500 would .* the same 28,672: .*=8\); type token"):
        rounded(load([*CONTEXT, "grid.n_tokens=[30000,30500]"]))
    with pytest.raises(InputError, match="1,000 and 2,000 would"):
        rounded(load([*CONTEXT, "grid.extra=[{d_model: 16, n_tokens: [1000, 2000], seeds: [3]}]"]))


def test_the_note_names_the_fewest_intervals() -> None:
    found, notes = rounded(load([*CONTEXT, "grid.n_tokens=[2048,65536]"]))
    assert found.grid.n_tokens == [16384, 65536]
    assert "n_tokens 2,048 became 16,384: whole logging intervals of 4,096 tokens, at least four" in notes[0]


def test_strict_changes_nothing() -> None:
    asked = load([*SMALL, "grid.rungs=[42]", "strict=true"])
    assert rounded(asked) == (asked, [])


def test_strict_refuses_a_vocabulary_above_the_limit_of_a_rung() -> None:
    asked = load([*SMALL, "strict=true", "model.n_layers=3", "grid.rungs=[16,48]"])
    assert expand(asked, DATA, 192)
    with pytest.raises(InputError, match=r"d16 .* of 577, expected at most .* = 192 .* d_model 64 or more"):
        expand(asked, DATA, 577)
    assert expand(replace(asked, strict=False), DATA, 577)


@pytest.mark.parametrize(("n_layers", "limit"), [(6, None), (2, 128)])
def test_strict_refuses_the_vocabulary_of_any_arm(n_layers: int, limit: int | None) -> None:
    arms = f"grid.arms={{base: {{}}, other: {{model.n_layers: {n_layers}}}}}"
    asked = load([*SMALL, "strict=true", "model.n_layers=3", "optim.transfer=measured", arms])
    refused = nullcontext() if limit is None else pytest.raises(InputError, match=f"expected .* = {limit}")
    with refused:
        expand(asked, DATA, 192)


def test_shapes_of_a_ladder_are_rounded() -> None:
    asked = load([*SMALL, "grid.rungs=null", "grid.ladder={shapes: [{d_model: 31, n_layers: 2}]}"])
    found, notes = rounded(asked)
    assert found.grid.ladder is not None
    assert found.grid.ladder.shapes[0].d_model == 32
    assert "31 became 32" in notes[0]


@pytest.mark.parametrize(
    "rungs",
    [
        "grid.rungs=[18,20,48]",
        "grid.ladder={shapes: [{d_model: 18, n_layers: 2}, {d_model: 20, n_layers: 2}]}",
    ],
)
def test_widths_that_would_become_the_same_are_refused_with_what_to_type(rungs: str) -> None:
    with pytest.raises(InputError) as refused:
        rounded(load([*CONTEXT, rungs]))
    said = str(refused.value)
    assert "d_model 18 and 20 would become the same 16: a width takes whole heads of 16" in said
    assert "type model.head_dim=2, with which all can be had, or widths 16 apart" in said
    assert rounded(load([*CONTEXT, rungs, "model.head_dim=2"]))[1] == []


def test_rungs_of_other_depth_or_heads_do_not_become_the_same() -> None:
    rungs = "[{d_model: 18, n_layers: 2}, {d_model: 20, n_layers: 3}, {d_model: 18, n_heads: 1}]"
    assert len(expand(rounded(load([*SMALL, f"grid.rungs={rungs}"]))[0], DATA, VOCAB)) == 6
    with pytest.raises(InputError, match=r"15 and 17 would become the same 16: .*16; type widths 16 apart"):
        rounded(load([*SMALL, "grid.rungs=[15,17,48]"]))


def test_odd_heads_are_refused_still() -> None:
    asked = load([*SMALL, "model.head_dim=5"])
    assert rounded(asked)[0] == asked
    with pytest.raises(InputError, match="heads of even width"):
        expand(asked, DATA, VOCAB)


def test_token_counts_end_on_the_batch_of_the_rule() -> None:
    """16 sequences by the longest run; halved until the smallest run has four intervals."""
    rule = [
        "optim.reference_batch_tokens=128",
        "optim.reference_tokens=4096",
        "optim.batch_size_tokens_exponent=0.5",
    ]
    found, notes = rounded(load([*SMALL, *rule, "grid.n_tokens=[30000,65000]"]))
    assert found.grid.n_tokens == [7 * 4 * RASTER, 16 * 4 * RASTER]
    assert "whole logging intervals of 4,096 tokens" in notes[0]
    assert {cell.spec.optim.batch_size for cell in expand(found, DATA, VOCAB)} == {16}
    found, _ = rounded(load([*SMALL, *rule, "grid.n_tokens=[5000,65000]"]))
    assert found.grid.n_tokens == [5 * RASTER, 63 * RASTER]
    alone, _ = rounded(load([*SMALL, *rule, "grid.n_tokens=[5000,65000]", "optim.schedule=cosine"]))
    assert alone.grid.n_tokens == [5 * RASTER, 16 * 4 * RASTER]
