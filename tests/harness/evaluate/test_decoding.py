"""Greedy decoding against whole passes over growing contexts, on every layout."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import numpy as np
import pytest

from harness.engine.mesh import make_mesh
from harness.engine.step import DEFAULTS, Engine, engine_for
from harness.evaluate.decoding import greedy_answers
from harness.evaluate.token_scores import score
from harness.execution.execution import Execution, MeshConfig
from harness.model.forward import stack
from harness.recipe.spec import ModelSpec
from tests import recipes

N_POSITIONS = 5
# The longest context a model takes, and a shorter one.
WIDTHS = (recipes.SEQ_LEN, 9)
DENSE = recipes.model(qk_norm=True, key_shift=True, mlp="swiglu")
# Room for every token: what one yields depends on no width.
EXPERTS = replace(DENSE, n_experts=4, n_active_experts=2, capacity_factor=4.0)


@cache
def first_params(model: ModelSpec) -> Any:
    """Parameters of one device; test_mesh has those that other layouts make."""
    made = engine_for(recipes.run_spec(model=model), make_mesh(MeshConfig()), DEFAULTS)
    return jax.device_get(made.init(jax.random.key(1))["params"])


def engine(model: ModelSpec, mesh: MeshConfig, execution: Execution) -> tuple[Engine, Any]:
    made, params = engine_for(recipes.run_spec(model=model), make_mesh(mesh), execution), first_params(model)
    params = stack(params) if made.forward.layout.stacked else params
    return made, jax.device_put(params, made.state_shardings["params"])


def written(made: Engine, params: Any, widths: tuple[int, ...]) -> list[np.ndarray]:
    sequences = [recipes.windows(1, batch=7, seed=width)[0, :, : width + 1] for width in widths]
    scores = score(made, params, sequences)
    return greedy_answers(made, params, sequences, [own.predicted[:, -N_POSITIONS:] for own in scores])


def free_running(made: Engine, params: Any, widths: tuple[int, ...]) -> list[np.ndarray]:
    """By a whole pass for every token."""
    forward = jax.jit(made.forward.logits)
    answers = []
    for width in widths:
        shown = recipes.windows(1, batch=7, seed=width)[0, :, : width + 1 - N_POSITIONS]
        for _ in range(N_POSITIONS):
            whole = np.pad(shown, ((0, 1), (0, recipes.SEQ_LEN - shown.shape[1])))
            chosen = np.asarray(forward(params, whole))[:-1, shown.shape[1] - 1].argmax(axis=1)
            shown = np.concatenate([shown, chosen[:, None].astype(shown.dtype)], axis=1)
        answers.append(shown[:, -N_POSITIONS:])
    return answers


@cache
def expected_of(model: ModelSpec) -> list[np.ndarray]:
    return free_running(*engine(model, MeshConfig(), DEFAULTS), WIDTHS)


@pytest.mark.parametrize(
    ("model", "mesh", "execution"),
    [
        (DENSE, MeshConfig(), DEFAULTS),
        (replace(DENSE, qk_norm=False, key_shift=False, mlp="gelu"), MeshConfig(), DEFAULTS),
        (DENSE, MeshConfig(data=2, fsdp=2, tensor=2), DEFAULTS),
        (replace(DENSE, n_layers=4), MeshConfig(stage=2, tensor=2, data=2), Execution(scan_layers=True)),
        (replace(DENSE, **recipes.ALL_OPTIONS), MeshConfig(tensor=4), Execution(scan_layers=True)),
        (EXPERTS, MeshConfig(), DEFAULTS),
        (EXPERTS, MeshConfig(expert=2, data=2), DEFAULTS),
    ],
    ids=[
        "one device",
        "plain",
        "fsdp and tensor",
        "stages",
        "every option",
        "experts",
        "experts apart",
    ],
)
def test_what_is_written_is_what_whole_passes_write(
    model: ModelSpec, mesh: MeshConfig, execution: Execution
) -> None:
    expected = expected_of(model)
    found = written(*engine(model, mesh, execution), WIDTHS)
    for own, right in zip(found, expected, strict=True):
        assert own.tolist() == right.tolist()
    assert len(np.unique(expected[0])) > 3


def test_half_precision_writes_nearly_the_same() -> None:
    made, params = engine(replace(DENSE, precision="bf16"), MeshConfig(), DEFAULTS)
    (found,), (expected,) = written(made, params, (9,)), free_running(made, params, (9,))
    # One rounding of a near tie changes what follows it.
    assert (found == expected).mean() > 0.7
