"""A worker trains under its own settings of JAX, whatever its environment says."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from harness.execution.numerics import DROPPED, FIXED, foreign, settle
from tests import ROOT

FOREIGN = {
    "JAX_ENABLE_X64": "1",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
    "JAX_DEFAULT_DTYPE_BITS": "32",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_RANDOM_SEED_OFFSET": "7",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "XLA_FLAGS": "--xla_cpu_enable_fast_math=true --xla_force_host_platform_device_count=2",
}
# JAX has read its variables before the worker's set-up; then what it computes and what it believes.
PROBE = """
import jax, json
from harness.execution.numerics import FIXED, settle
settle()
import jax.numpy as jnp
x = jnp.arange(3) + 0.5
print(json.dumps({
    "options": {name: str(getattr(jax.config, name, FIXED[name])) for name in FIXED},
    "dtype": str(x.dtype),
    "draw": jax.random.normal(jax.random.key(0), (2,)).tolist(),
    "devices": len(jax.devices()),
}))
"""


def probed(**extra: str) -> dict[str, object]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=ROOT,
        env=environment | {"JAX_PLATFORMS": "cpu"} | extra,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_foreign_settings_change_nothing() -> None:
    clean, spoilt = probed(), probed(**FOREIGN)
    assert spoilt.pop("devices") == 2
    assert clean.pop("devices") == 1
    assert spoilt == clean
    assert clean["options"] == {name: str(value) for name, value in FIXED.items()}


def test_foreign_settings_are_named() -> None:
    named = foreign(FOREIGN)
    assert len(named) == len(FOREIGN)
    assert "JAX_ENABLE_X64=1" in named
    assert "XLA_FLAGS=--xla_cpu_enable_fast_math=true" in named


@pytest.mark.parametrize(
    "own",
    [
        {
            "JAX_ENABLE_X64": "0",
            "JAX_THREEFRY_PARTITIONABLE": "True",
            "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
        },
        {"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": "x", "JAX_LOG_COMPILES": "1"},
        {"JAX_NUMPY_RANK_PROMOTION": "raise", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        {"JAX_DEFAULT_MATMUL_PRECISION": "", "JAX_DISABLE_JIT": "false"},
    ],
)
def test_settings_that_change_no_number_are_not(own: dict[str, str]) -> None:
    assert foreign(own) == []


def test_only_what_decides_numbers_is_taken_from_the_environment() -> None:
    kept = {"JAX_PLATFORMS": "cpu", "JAX_NUMPY_RANK_PROMOTION": "raise", "HOME": "x"}
    environment = kept | dict.fromkeys(DROPPED, "1") | {name.upper(): "1" for name in FIXED}
    settle(environment)
    assert environment == kept
