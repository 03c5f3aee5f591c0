"""Bytes that a step moves, against sums made by hand."""

from __future__ import annotations

import pytest

from harness.execution.execution import MeshConfig
from harness.execution.memory import device_memory
from harness.plan.traffic import link_traffic, memory_traffic
from harness.recipe import counting
from tests.small_sweeps import small_cells

SPEC = small_cells("grid.rungs=[64]", "optim.batch_size=8", "model.precision=bf16", "grid.n_tokens=[8192]")[
    0
].spec
N_PARAMS = counting.n_params(SPEC.model)


def test_one_device_sends_nothing() -> None:
    assert link_traffic(SPEC, MeshConfig(), 1) == 0


@pytest.mark.parametrize("n", [2, 4])
def test_data_parallel_devices_sum_fp32_gradients(n: int) -> None:
    assert link_traffic(SPEC, MeshConfig(data=n), 1) == pytest.approx(8 * N_PARAMS * (n - 1) / n)


def test_sharded_parameters_are_gathered_twice_for_each_micro_batch() -> None:
    once = link_traffic(SPEC, MeshConfig(fsdp=4), 1)
    # Two gathers in bf16, one scatter of the gradient in fp32.
    assert once == pytest.approx((2 * 2 + 4) * N_PARAMS * 3 / 4)
    assert link_traffic(SPEC, MeshConfig(fsdp=4), 2) == pytest.approx(2 * once)


def test_a_tensor_axis_sums_activations_four_times_a_layer() -> None:
    mesh = MeshConfig(tensor=2)
    activations = SPEC.batch_tokens * SPEC.model.n_layers * SPEC.model.d_model * 2
    assert link_traffic(SPEC, mesh, 1) == pytest.approx(4 * 2 * activations / 2)


def test_memory_traffic_is_that_of_activations_logits_and_state() -> None:
    counted = device_memory(SPEC.model, MeshConfig(), "none", 8, 1, "cudnn")
    expected = 4 * counted.activations + 2 * (counted.logits + counted.state + counted.gradients)
    assert memory_traffic(SPEC, MeshConfig(), "cudnn") == expected
    # Weights of attention are stored only by kernels that do not work in blocks.
    assert memory_traffic(SPEC, MeshConfig(), "xla") > expected
    halves = memory_traffic(SPEC, MeshConfig(data=2), "cudnn")
    assert halves == pytest.approx(expected - 2 * counted.activations - counted.logits)
