"""A task of lm-eval on an exported model: its log-likelihoods are those that we compute."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.weights.export import export as write_export
from harness.weights.run import TrainedRun
from tests.fakes.trained import TOKENIZER
from tests.harness.weights.test_transformers_format import SHAPES, untrained

CHOICES = [" two", " µ", " three"]
QUESTIONS = ["one and", "two", "x = 1"]
TASK = """\
task: continuation
dataset_path: json
dataset_kwargs: {{data_files: {{test: {items}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
metric_list: [{{metric: acc}}]
"""


def log_likelihood(run: TrainedRun, text: str, choice: str) -> float:
    """Sum of the log-probabilities of the tokens of a choice behind a text."""
    given = len(TOKENIZER.encode([text])) - 1
    ids = TOKENIZER.encode([text + choice])[:-1]
    logits = run.logits(ids[:-1]).astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return float(log_p[np.arange(given - 1, len(ids) - 1), ids[given:]].sum())


@pytest.mark.parametrize("kind", ["qwen3", "llama, shared and tied"])
def test_a_task_scores_the_choices_as_we_do(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Read while the libraries are imported: nothing is asked of a network.
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    lm_eval = pytest.importorskip("lm_eval", reason="uv sync --extra lm-eval")
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    run = untrained(tmp_path / "ours", SHAPES[kind])
    write_export(tmp_path / "ours", None, tmp_path / "theirs", library=True)
    expected = np.array([[log_likelihood(run, text, each) for each in CHOICES] for text in QUESTIONS])
    best = expected.argmax(axis=1)
    # The last answer is a wrong one, so that two of three are right.
    answers = [*best[:-1].tolist(), int(expected[-1].argmin())]
    items = tmp_path / "items.json"
    rows = [
        {"question": text, "choices": CHOICES, "answer": answer}
        for text, answer in zip(QUESTIONS, answers, strict=True)
    ]
    items.write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "continuation.yaml").write_text(TASK.format(items=items))
    found = lm_eval.simple_evaluate(
        model="hf",
        model_args={"pretrained": str(tmp_path / "theirs"), "dtype": "float32"},
        tasks=["continuation"],
        task_manager=TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False),
        device="cpu",
        batch_size=1,
        bootstrap_iters=0,
    )
    assert found["results"]["continuation"]["acc,none"] == pytest.approx(2 / 3)
    samples = sorted(found["samples"]["continuation"], key=lambda sample: sample["doc_id"])
    theirs = [[float(score[0]) for score in sample["filtered_resps"]] for sample in samples]
    np.testing.assert_allclose(theirs, expected, rtol=0, atol=1e-4)
