"""`import harness`: the names, and what loads when."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import jax.numpy as jnp
import pytest

import harness
from tests import ROOT
from tests.fakes.trained import LARGE
from tests.test_architecture import TRAINING, loaded_by

NAMES = ["Decoder", "InputError", "ModelSpec", "RunSpec", "Tokenizer", "TrainedRun", "load_run"]


def test_public_names() -> None:
    """A name that goes, or a new one, is a change of the public API: change this list with it."""
    assert harness.__all__ == NAMES
    assert set(NAMES) <= set(dir(harness))
    with pytest.raises(AttributeError, match="no attribute 'load_rnu'"):
        _ = harness.load_rnu  # type: ignore[attr-defined]


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(harness.__file__).read_text())
    guard = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in guard.body if isinstance(node, ast.ImportFrom)]
    assert {alias.name for node in imports for alias in node.names} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_what_it_says_and_documented(name: str) -> None:
    found = getattr(harness, name)
    assert found.__name__ == name
    assert len(inspect.getdoc(found) or "") > 60


def test_the_front_door_loads_nothing() -> None:
    assert loaded_by("harness", {"numpy", "pandas", *TRAINING}) == "[]"


def test_the_example_of_the_readme_runs(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"^```python\n(import harness\n.*?)^```", text, re.DOTALL | re.MULTILINE)
    exec(block.replace("results/mine", str(trained)).replace("d96", "d16"), {})
    said = capsys.readouterr().out
    assert said.startswith(f"TrainedRun(d16, run {LARGE.run_id}, ")
    assert said.endswith(f" ({len('def main')}, 257)\n")


def test_three_lines_load_a_model_for_probing(trained: Path) -> None:
    run = harness.load_run(trained, "d16")
    tokens = run.tokenizer.encode(["one two"])
    assert run.logits(tokens).shape == (len(tokens), 257)
    assert isinstance(run.decoder, harness.Decoder)
    assert isinstance(run.tokenizer, harness.Tokenizer)
    assert run.spec == LARGE
    assert run.params["embed"].shape == (257, 16)
    stream = run.decoder.blocks[0](run.decoder.embedded(jnp.asarray(tokens, jnp.int32)[None]), 1)[0]
    assert stream.shape == (len(tokens), 16)
