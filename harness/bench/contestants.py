"""Contestants of the benchmark: the step of a sweep, matrix products, other decoders of the same shape."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax

from harness.engine.mesh import MeshConfig, make_mesh
from harness.engine.step import advance, engine_for
from harness.model.decoder import Decoder
from harness.recipe import counting
from harness.recipe.spec import RunSpec
from harness.records.errors import InputError

# Tokens per call of the compiled program, at most one logging interval.
CALL_TOKENS = 8192
# Widths of square matrices; the fastest one defines the matmul peak. One call chains MATMUL_CHAIN products,
# so that dispatching takes no part.
CPU_MATMUL_WIDTHS = (256, 512, 1024)
ACCELERATOR_MATMUL_WIDTHS = (2048, 4096, 8192)
MATMUL_CHAIN = 4
MATMUL_TRIAL_SECONDS = 0.15

TORCH_SCRIPT = Path(__file__).with_name("torch_decoder.py")
TORCH_VARIANTS = ("eager", "compiled")


class Contestant(Protocol):
    """A program that is timed in turn with others."""

    def rate(self, seconds: float) -> float:
        """Return tokens or FLOPs per second over the calls that begin within `seconds`."""


def now() -> float:
    """Return seconds: CPU time of this process on CPU, because others may share the core, else wall-clock."""
    return time.process_time() if jax.default_backend() == "cpu" else time.perf_counter()


def timed(call: Callable[[], object], units: float, seconds: float) -> float:
    """Return the units per second of repeated calls, up to the last one's result."""
    # JAX dispatches asynchronously: without the wait the loop would time the dispatching alone. Every call
    # depends on the one before or shares its device, so waiting for the last one suffices.
    start, n = now(), 0
    while n == 0 or now() - start < seconds:
        last = call()
        n += 1
    jax.block_until_ready(last)
    return n * units / (now() - start)


def random_windows(spec: RunSpec, n_steps: int) -> np.ndarray:
    """Return random token windows for `n_steps` steps; speed does not depend on the tokens."""
    shape = (n_steps, spec.optim.batch_size, spec.model.seq_len + 1)
    return np.random.default_rng(0).integers(spec.model.vocab_size, size=shape, dtype=np.int32)


class SweepStep:
    """The training step of a sweep: one logging interval from host arrays to metrics on the host."""

    def __init__(self, spec: RunSpec):
        self.spec = spec
        self.engine = engine_for(spec, make_mesh(MeshConfig()))
        self.n_steps = max(1, min(spec.log_interval, CALL_TOKENS // spec.batch_tokens))
        self.windows = random_windows(spec, self.n_steps)
        self.factors = np.full(self.n_steps, 0.1, np.float32)
        self.state = self.engine.init(jax.random.key(0))
        start = now()
        self()
        first = now()
        self()
        # The first call compiles and runs, the second only runs.
        self.compile_seconds = (first - start) - (now() - first)

    def __call__(self) -> object:
        self.state, metrics = advance(self.engine, self.state, self.windows, self.factors, self.spec.optim)
        return metrics.loss

    def rate(self, seconds: float) -> float:
        """Return the tokens per second of the calls that begin within `seconds`."""
        return timed(self, self.n_steps * self.spec.batch_tokens, seconds)


class TextbookStep:
    """Training step in plain JAX as usually written: gradient of the whole batch at once, one call a step."""

    def __init__(self, spec: RunSpec):
        self.spec = spec
        graph, state = nnx.split(Decoder(spec.model, nnx.Rngs(0), textbook=True))
        optim = spec.optim
        transform = optax.chain(
            optax.clip_by_global_norm(optim.grad_clip),
            optax.adamw(
                optim.lr.hidden, optim.beta1, optim.beta2, optim.eps, weight_decay=optim.weight_decay
            ),
        )

        def step(params: Any, moments: Any, windows: jax.Array) -> tuple[Any, Any, jax.Array]:
            loss, grads = jax.value_and_grad(lambda p: nnx.merge(graph, p).losses(windows).mean())(params)
            updates, moments = transform.update(grads, moments, params)
            return optax.apply_updates(params, updates), moments, loss

        self.step = jax.jit(step, donate_argnums=(0, 1))
        self.state = (state, transform.init(state))
        self.windows = random_windows(spec, 1)[0]
        jax.block_until_ready(self())

    def __call__(self) -> object:
        *state, loss = self.step(*self.state, self.windows)
        self.state = (state[0], state[1])
        return loss

    def rate(self, seconds: float) -> float:
        """Return the tokens per second of the steps that begin within `seconds`."""
        return timed(self, self.spec.batch_tokens, seconds)


class Matmul:
    """Square fp32 matrix products at JAX's default precision: the matmul peak of this device."""

    def __init__(self) -> None:
        widths = CPU_MATMUL_WIDTHS if jax.default_backend() == "cpu" else ACCELERATOR_MATMUL_WIDTHS
        trials = {width: self._trial(width) for width in widths}
        self.width = max(trials, key=lambda width: trials[width])
        self._trial(self.width)

    def _trial(self, width: int) -> float:
        # Entries of variance 1/width keep the products as large as their input: no overflow, no denormals.
        self.matrix = jax.random.normal(jax.random.key(0), (width, width)) * width**-0.5
        self.flops = MATMUL_CHAIN * 2.0 * width**3
        jax.block_until_ready(self())
        return self.rate(MATMUL_TRIAL_SECONDS)

    def __call__(self) -> object:
        return _products(self.matrix)

    def rate(self, seconds: float) -> float:
        """Return the FLOPs per second of the products that begin within `seconds`."""
        return timed(self, self.flops, seconds)


@jax.jit
def _products(matrix: jax.Array) -> jax.Array:
    return lax.fori_loop(0, MATMUL_CHAIN, lambda _, product: jnp.dot(product, matrix), matrix)


class TorchProcess:
    """The process that runs PyTorch; it works only while it answers a request.

    Raises AssertionError if its decoder has another number of parameters than ours.
    """

    def __init__(self, python: str, spec: RunSpec):
        recipe = {
            "model": asdict(spec.model),
            "optim": spec.to_dict()["optim"],
            "device": {"cpu": "cpu", "gpu": "cuda"}[jax.default_backend()],
            "variants": TORCH_VARIANTS,
        }
        environment = dict(os.environ, MKL_NUM_THREADS="1", TORCHINDUCTOR_COMPILE_THREADS="1")
        self.process = subprocess.Popen(
            [python, str(TORCH_SCRIPT)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        answer = self.ask(recipe)
        self.version, self.variants, self.failed = answer["version"], answer["variants"], answer["failed"]
        if self.variants and answer["n_params"] != counting.n_params(spec.model):
            raise AssertionError(f"the PyTorch decoder has {answer['n_params']} parameters, another shape")

    def ask(self, wish: dict[str, Any]) -> dict[str, Any]:
        """Send one request and wait for the answer; raise InputError if the process has died."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        try:
            self.process.stdin.write(json.dumps(wish) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            reason = (self.process.stderr.read().strip().splitlines() or ["no word"])[-1]
            raise InputError(
                f"PyTorch was expected to answer and ended ({reason}); leave out --compare torch or give "
                "another interpreter with --torch-python"
            )
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


class TorchVariant:
    """One variant of the PyTorch decoder: `eager` or `compiled`."""

    def __init__(self, process: TorchProcess, variant: str):
        self.process = process
        self.variant = variant

    def rate(self, seconds: float) -> float:
        """Return the tokens per second that the process measures."""
        answer = self.process.ask({"variant": self.variant, "seconds": seconds})
        return float(answer["tokens_per_second"])
