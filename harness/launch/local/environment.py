"""Check of the environment that workers on this machine get: whether JAX starts in it at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from harness.execution.hardware import JAX_PLATFORMS, PLATFORMS, platform_found
from harness.execution.numerics import XLA_FLAGS
from harness.launch.local.places import OWN_FLAGS, Seat, worker_environment
from harness.records.errors import InputError

PROBE = (sys.executable, "-c", "import jax; jax.devices()")
# A probe that takes longer, such as one that waits for a TPU in use, is left alone: workers will tell.
PROBE_SECONDS = 120.0
UNKNOWN_FLAGS = re.compile(r"Unknown flags? in XLA_FLAGS: (.*)")
EXTRAS = {"gpu": "--extra cuda12", "tpu": "--extra tpu"}


def check_environment() -> None:
    """Raise InputError if JAX cannot start under JAX_PLATFORMS or XLA_FLAGS of this process.

    Otherwise every worker would end before its first run. JAX is started in a process of its own, and only if
    a variable asks for something that may be missing.
    """
    asked = os.environ.get(JAX_PLATFORMS, "")
    flags = [f for f in os.environ.get(XLA_FLAGS, "").split() if not f.startswith(OWN_FLAGS)]
    if asked in ("", "cpu") and not flags:
        return
    # Beside a worker of another sweep, the probe must not take all memory of a GPU.
    environment = worker_environment(Seat(), 1) | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        done = subprocess.run(
            PROBE, env=environment, capture_output=True, text=True, errors="replace", timeout=PROBE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    if done.returncode:
        raise InputError(_why(asked, flags, done.stderr))


def _why(asked: str, flags: list[str], said: str) -> str:
    """Return the sentence for a JAX that does not start.

    Args:
        asked: value of JAX_PLATFORMS.
        flags: flags of XLA_FLAGS that the harness does not set itself.
        said: standard error of the process.
    """
    unknown = UNKNOWN_FLAGS.search(said)
    if unknown:
        return (
            f"{XLA_FLAGS} was expected to have flags that this version of XLA knows and has "
            f"{unknown[1].strip()}; take that out of {XLA_FLAGS}"
        )
    if asked:
        wanted = [PLATFORMS.get(name, name) for name in asked.split(",")]
        extra = next((EXTRAS[name] for name in wanted if name in EXTRAS), None)
        or_add = f", or install JAX for it (uv run {extra})" if extra else ""
        return f"{JAX_PLATFORMS}={asked}: no such device here, {platform_found()} is; unset it{or_add}"
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "no word")
    return f"JAX does not start under {XLA_FLAGS}={' '.join(flags)} ({last}); unset {XLA_FLAGS}"
