"""Where the seconds of a run go: training steps, evaluation, compilation, checkpoints and the rest."""

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
    """Seconds that this process has spent tracing and compiling, or fetching compiled programs."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._hear)

    def _hear(self, event: str, duration_secs: float, **kwargs: str | int) -> None:  # noqa: ARG002
        if not event.startswith("/jax/core/compile/"):
            return
        began = time.monotonic() - duration_secs
        # Constants compiled while a function is traced report first; its time contains theirs.
        while self._spans and self._spans[-1][0] >= began:
            self._spans.pop()
        self._spans.append((began, duration_secs))

    def total(self) -> float:
        """Seconds so far."""
        return sum(seconds for _, seconds in self._spans)


@cache
def compile_seconds() -> CompileSeconds:
    """The one listener of this process."""
    return CompileSeconds()


class Stopwatch:
    """Divides the time since it was made; compilation inside another kind counts as compilation."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._compile = compile_seconds()
        self._compiled_before = self._compile.total()
        self._spent: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def time(self, kind: str) -> Iterator[None]:
        """Count the body's seconds as `kind`."""
        began, compiled = time.monotonic(), self._compile.total()
        try:
            yield
        finally:
            compiled = self._compile.total() - compiled
            self._spent[kind] += time.monotonic() - began - compiled

    def spent(self) -> dict[str, float]:
        """Seconds by kind; they add up to the time since the stopwatch was made."""
        total = time.monotonic() - self._began
        spent = {kind: self._spent[kind] for kind in (TRAINING, EVALUATION, TASKS, CHECKPOINTS)}
        spent[COMPILATION] = self._compile.total() - self._compiled_before
        return spent | {OTHER: total - sum(spent.values())}
