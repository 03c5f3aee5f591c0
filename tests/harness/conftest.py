"""Programs are compiled without optimisation, as most of them run once or twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jax._src import compiler

from tests import ROOT
from tests.quick_compilation import OPTIONS

# Modules whose programs give the same bytes as those of other processes.
OPTIMISED = {ROOT / "tests/harness/train/test_killed.py"}


@pytest.fixture(autouse=True, scope="module")
def compile_quickly(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compile quickly, except in OPTIMISED; processes of their own compile as users do."""
    options = compiler.get_compile_options

    def without_optimisation(*arguments: Any, **named: Any) -> Any:
        found = options(*arguments, **named)
        found.env_option_overrides = [*found.env_option_overrides, *OPTIONS.items()]
        return found

    with pytest.MonkeyPatch.context() as patch:
        if Path(request.node.path) not in OPTIMISED:
            patch.setattr(compiler, "get_compile_options", without_optimisation)
        yield
