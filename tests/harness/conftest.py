"""Programs are compiled without optimisation, as most of them run once or twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jax._src import compiler

from tests import ROOT

# Options of XLA by which a program compiles in a fifth of the time; it runs several times slower.
QUICKLY_COMPILED = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
# Modules whose programs run for longer than they compile, or are compared with those of other processes.
OPTIMISED = {
    ROOT / "tests/harness/train/test_killed.py",
}


@pytest.fixture(autouse=True, scope="module")
def compile_quickly(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compile with QUICKLY_COMPILED; processes of their own compile as users do."""
    options = compiler.get_compile_options

    def without_optimisation(*arguments: Any, **named: Any) -> Any:
        found = options(*arguments, **named)
        found.env_option_overrides = [*found.env_option_overrides, *QUICKLY_COMPILED.items()]
        return found

    with pytest.MonkeyPatch.context() as patch:
        if Path(request.node.path) not in OPTIMISED:
            patch.setattr(compiler, "get_compile_options", without_optimisation)
        yield
