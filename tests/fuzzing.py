"""Settings of the tests that draw what people might type or bring."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SLOW = bool(os.environ.get("RUN_SLOW"))
TIMES = 20  # as many examples in a slow run


def fuzzed(examples: int) -> settings:
    """Draw so many examples, the same in every run, so that no pull request fails by chance.

    A slow run (`RUN_SLOW=1`) draws many more, and others each time; hypothesis prints one that fails.
    """
    return settings(
        max_examples=examples * (TIMES if SLOW else 1),
        deadline=None,
        derandomize=not SLOW,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
