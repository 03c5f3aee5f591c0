"""Secrets are hidden by their look or by their name, and settings are left alone."""

from __future__ import annotations

import shlex
import time

import pytest

from harness.config.settings import known_keys
from harness.records.command_line import recorded
from harness.records.secret_text import redacted, redacted_values


@pytest.mark.parametrize(
    "text",
    [
        "token=hunter2",
        "+launcher.sbatch.export=ALL,WANDB_API_KEY=hunter2",
        "+launcher.sbatch.comment={api_key: hunter2}",
        "password='hunter2'",
        "data.path=https://me:hunter2@host/texts",
        "AWS_SECRET_ACCESS_KEY=hunter2 AWS=x",
        "authToken: hunter2",
        "x=hf_hunter2hunter2",
        "sk-proj-hunter2hunter2",
        "data.path=s3/AKIAHUNTER2HUNTER2",
        "ghp_hunter2hunter2",
        "glpat-hunter2hunter2",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    assert "hunter2" not in redacted(text).lower()
    assert "***" in redacted(text)


def test_settings_are_no_secrets() -> None:
    for key in known_keys():
        assert redacted(f"{key}=5") == f"{key}=5"
    for text in (
        "grid.n_tokens=[4096]",
        "model.key_shift=false",
        "data.path=task-lists/monkeys",
        "risk-averse-1",
    ):
        assert redacted(text) == text


def test_values_of_a_configuration_are_hidden_by_their_key() -> None:
    values = {
        "launcher": {"sbatch": {"wandb_token": "hunter2", "mem": "8G", "n": [1, "A_KEY=hunter2"]}},
        "seed": 5,
    }
    assert redacted_values(values) == {
        "launcher": {"sbatch": {"wandb_token": "***", "mem": "8G", "n": [1, "A_KEY=***"]}},
        "seed": 5,
    }


def test_a_recorded_command_can_be_pasted() -> None:
    arguments = ["+grid=smoke", "data.path=my texts, v1 (it's)", "grid.rungs=[16,32]", "results_dir=$HOME;ls"]
    assert shlex.split(recorded("harness.sweep", arguments)) == ["python", "-m", "harness.sweep", *arguments]
    assert "hunter2" not in recorded("harness.sweep", ["+launcher.sbatch.key=hunter2"])


def test_no_text_makes_the_search_slow() -> None:
    began = time.process_time()
    for text in ("a" * 50_000, "a_" * 25_000, "token" * 10_000, "://" * 15_000, "eyJaaaaaaaaa." * 4_000):
        redacted(text)
    assert time.process_time() - began < 5
