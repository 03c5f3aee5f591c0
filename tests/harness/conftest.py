"""Programs are compiled without optimisation, as most of them run once or twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.trained import make_trained
from tests.quick_compilation import without_optimisation


@pytest.fixture(autouse=True, scope="module")
def compile_quickly() -> Iterator[None]:
    """Compile quickly; processes of their own compile as users do."""
    with without_optimisation():
        yield


@pytest.fixture(scope="session")
def trained(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A sweep of tiny models that kept their parameters; not to be changed."""
    with without_optimisation():
        return made_once("trained", make_trained)
