"""What data.tasks may say."""

from __future__ import annotations

from typing import Any

import pytest

from harness.config.settings import load
from harness.data.tasks.mixture import TaskConfig
from harness.records.errors import InputError
from harness.sweep.preparation import data_config


def test_a_task_is_added_and_taken_away_by_its_name() -> None:
    mixed = ["+grid=smoke", "data=text_and_tasks"]
    assert "markov" not in {task.name for task in data_config(load([*mixed, "~data.tasks.markov"])).tasks}
    added = load(["+grid=smoke", "+data.tasks.copy={share:0.3,lengths:[4]}"])
    assert data_config(added).tasks == (TaskConfig("copy", 0.3, (4,)),)


@pytest.mark.parametrize(
    "values",
    [
        0.1,
        {"share": 0.1},
        {"share": "much", "lengths": [4]},
        {"share": 0.1, "lengths": ["four"]},
        {"share": 0.1, "lengths": 4},
        {"share": 0.1, "lengths": [4], "weight": 1},
    ],
)
def test_what_is_no_task_is_refused(values: Any) -> None:
    with pytest.raises(
        InputError, match=r"data\.tasks\.copy=.* is no task; a share of all tokens and lengths"
    ):
        TaskConfig.from_settings("copy", values)
