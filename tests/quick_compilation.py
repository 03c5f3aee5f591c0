"""Options of XLA by which a program compiles in a fifth of the time; it runs several times slower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from jax._src import compiler

OPTIONS = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
# The same for a process of its own, in XLA_FLAGS.
FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in OPTIONS.items())


@contextmanager
def without_optimisation() -> Iterator[None]:
    """Compile the programs of this process with OPTIONS, which win over options of the program itself."""
    options = compiler.get_compile_options

    def quick_options(*arguments: Any, **named: Any) -> Any:
        found = options(*arguments, **named)
        found.env_option_overrides = [*found.env_option_overrides, *OPTIONS.items()]
        return found

    with mock.patch.object(compiler, "get_compile_options", quick_options):
        yield
