"""Settings of the process that decide numbers: a worker sets them itself, whatever its environment says.

A run is named by the hash of its recipe, which has no such setting. Without this module one shell with
JAX_ENABLE_X64=1 would mix two kinds of training in one table.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import MutableMapping
from typing import Any

# Options of JAX with the value under which every run is trained. `jax_numpy_rank_promotion` is free: it
# changes no number, it only refuses some.
FIXED: dict[str, Any] = {
    "jax_enable_x64": False,
    "jax_default_dtype_bits": "64",
    "jax_default_matmul_precision": None,
    "jax_numpy_dtype_promotion": "standard",
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_enable_custom_prng": False,
    "jax_legacy_prng_key": "allow",
    "jax_random_seed_offset": 0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_softmax_custom_jvp": False,
    "jax_allow_f16_reductions": True,
    "jax_disable_jit": False,
}
# Variables that are dropped, since the defaults behind them need no setting: how programs are traced and
# optimised, which changes rounding, and NVIDIA's switch of the precision of matrix products.
DROPPED = (
    "JAX_EXPLICIT_X64_DTYPES",
    "JAX_THREEFRY_GPU_KERNEL_LOWERING",
    "JAX_DISABLE_MOST_OPTIMIZATIONS",
    "JAX_OPTIMIZATION_LEVEL",
    "JAX_EXEC_TIME_OPTIMIZATION_EFFORT",
    "JAX_MEMORY_FITTING_EFFORT",
    "JAX_MEMORY_FITTING_LEVEL",
    "JAX_COMPILER_ENABLE_REMAT_PASS",
    "JAX_ENABLE_PGLE",
    "JAX_USE_DIRECT_LINEARIZE",
    "JAX_REMAT3",
    "JAX_SCAN3",
    "JAX_CUSTOM_VJP3",
    "JAX_RAGGED_DOT_USE_RAGGED_DOT_INSTRUCTION",
    "JAX_RAGGED_DOT_USE_GPU_PALLAS_TRITON_LOWERING",
    "NVIDIA_TF32_OVERRIDE",
)
# Beginnings of flags of XLA that trade accuracy for speed.
INEXACT_FLAGS = (
    "--xla_cpu_enable_fast_math",
    "--xla_cpu_fast_math",
    "--xla_cpu_enable_fast_min_max",
    "--xla_gpu_enable_fast_min_max",
    "--xla_allow_excess_precision",
)
XLA_FLAGS = "XLA_FLAGS"
NO = ("", "0", "false", "f", "no", "n", "off")
YES = ("1", "true", "t", "yes", "y", "on")


def foreign(environment: MutableMapping[str, str]) -> list[str]:
    """Return the variables, as NAME=VALUE, that ask for other numbers than those of every run."""
    asked = {name.upper(): value for name, value in FIXED.items()} | dict.fromkeys(DROPPED)
    found = [
        f"{name}={environment[name]}"
        for name, value in asked.items()
        if name in environment and not _says(environment[name], value)
    ]
    return found + [f"{XLA_FLAGS}={flag}" for flag in _flags(environment) if flag.startswith(INEXACT_FLAGS)]


def settle(environment: MutableMapping[str, str] | None = None) -> None:
    """Set everything that decides numbers; must come before any other use of JAX in this process."""
    environment = os.environ if environment is None else environment
    for name in (*map(str.upper, FIXED), *DROPPED):
        environment.pop(name, None)
    flags = _flags(environment)
    kept = [flag for flag in flags if not flag.startswith(INEXACT_FLAGS)]
    if kept != flags:
        environment[XLA_FLAGS] = " ".join(kept)
    # Late, because JAX reads the variables when it is imported.
    import jax

    for option, value in FIXED.items():
        # Versions of JAX differ in their options.
        with contextlib.suppress(AttributeError):
            jax.config.update(option, value)


def _flags(environment: MutableMapping[str, str]) -> list[str]:
    return environment.get(XLA_FLAGS, "").split()


def _says(text: str, value: Any) -> bool:
    """Return whether the text of a variable means this value."""
    word = text.strip().lower()
    if isinstance(value, bool):
        return word in (YES if value else NO)
    return word == ("" if value is None else str(value))
