"""Programs are compiled without optimisation, as most of them run once or twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jax._src import compiler

from tests import ROOT
from tests.fakes.trained import make_trained
from tests.quick_compilation import OPTIONS

# Modules whose programs give the same bytes as those of other processes.
OPTIMISED = {ROOT / "tests/harness/train/test_killed.py"}


@contextmanager
def without_optimisation() -> Iterator[None]:
    options = compiler.get_compile_options

    def quick_options(*arguments: Any, **named: Any) -> Any:
        found = options(*arguments, **named)
        found.env_option_overrides = [*found.env_option_overrides, *OPTIONS.items()]
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "get_compile_options", quick_options)
        yield


@pytest.fixture(autouse=True, scope="module")
def compile_quickly(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compile quickly, except in OPTIMISED; processes of their own compile as users do."""
    if Path(request.node.path) in OPTIMISED:
        yield
        return
    with without_optimisation():
        yield


@pytest.fixture(scope="session")
def trained(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A sweep of tiny models that kept their parameters; not to be changed."""
    with without_optimisation():
        return made_once("trained", make_trained)
