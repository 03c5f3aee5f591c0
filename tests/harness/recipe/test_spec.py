"""The identity of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from harness.recipe.run_id import added, content_id, recipe_dict
from harness.recipe.spec import Job
from tests.recipes import run_spec


@dataclass(frozen=True)
class Inner:
    width: int
    precision: str = added("fp32")


@dataclass(frozen=True)
class Outer:
    inner: Inner
    n_steps: int | None = None


def test_added_fields_count_once_they_leave_their_default() -> None:
    assert recipe_dict(Outer(Inner(16))) == {"inner": {"width": 16}, "n_steps": None}
    assert recipe_dict(Outer(Inner(16, "bf16")))["inner"] == {"width": 16, "precision": "bf16"}


def test_the_identity_of_a_recipe_stays_as_recipes_grow() -> None:
    """A run made today must be found again by tomorrow's code."""
    assert run_spec().run_id == "366ac9a3dc64"
    assert run_spec(seed=1).run_id != run_spec().run_id
    assert content_id({"b": 1, "a": 2}) == content_id({"a": 2, "b": 1})


def test_a_job_survives_its_own_json() -> None:
    job = Job(run_spec(kind="cosine", n_steps=8), (512, 1024))
    assert Job.from_dict(job.to_dict()) == job
