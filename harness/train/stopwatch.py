"""Wall-clock seconds of a run by kind: training, evaluation, tasks, compilation, checkpoints, the rest."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

import jax

TRAINING, EVALUATION, CHECKPOINTS = "training steps", "evaluation", "checkpoints"
TASKS = "tasks"
COMPILATION, OTHER = "compilation", "other"


class CompileSeconds:
    """Seconds that this process has spent on tracing, compiling and loading compiled programs.

    JAX compiles at the first call of a function, inside training or evaluation; its monitoring events tell
    these seconds apart.
    """

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **kwargs: str | int) -> None:  # noqa: ARG002
        if not event.startswith("/jax/core/compile/"):
            return
        began = time.monotonic() - duration_secs
        # A nested compilation reports before the outer one, whose time contains it: keep the outer span
        # alone.
        while self._spans and self._spans[-1][0] >= began:
            self._spans.pop()
        self._spans.append((began, duration_secs))

    def total(self) -> float:
        """Return the seconds so far."""
        return sum(seconds for _, seconds in self._spans)


@cache
def compile_seconds() -> CompileSeconds:
    """Return the one listener of this process; one per run would pile up in a worker of many runs."""
    return CompileSeconds()


class Stopwatch:
    """Wall-clock seconds by kind since creation; compilation within another kind counts as compilation."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._compile = compile_seconds()
        self._compiled_before = self._compile.total()
        self._spent: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def time(self, kind: str) -> Iterator[None]:
        """Count the seconds of the `with` body as `kind`, except those of compilation."""
        began, compiled = time.monotonic(), self._compile.total()
        try:
            yield
        finally:
            compiled = self._compile.total() - compiled
            self._spent[kind] += time.monotonic() - began - compiled

    def spent(self) -> dict[str, float]:
        """Return the seconds by kind; they add up to the time since creation."""
        total = time.monotonic() - self._began
        spent = {kind: self._spent[kind] for kind in (TRAINING, EVALUATION, TASKS, CHECKPOINTS)}
        spent[COMPILATION] = self._compile.total() - self._compiled_before
        return spent | {OTHER: total - sum(spent.values())}
