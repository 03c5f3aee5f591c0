"""Set-up that tests of the analysis share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from analysis.averaging import average
from analysis.contest import rollout
from analysis.solve import search


@pytest.fixture(scope="module")
def few_starts() -> Iterator[None]:
    """Searches from few starts, for modules that ask what is said of a fit and not how good it is.

    Slow tests measure what users get.
    """
    if os.environ.get("RUN_SLOW"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search.multi_start, "__defaults__", (8,))
        patch.setattr(search, "ROUNDS", 12)
        for module in (average, rollout):
            patch.setattr(module, "STARTS", 4)
        yield
