"""Jobs that cells make."""

from __future__ import annotations

from harness.grid.cells import job_flops, job_tokens, jobs
from harness.recipe import counting
from tests.small_sweeps import small_cells

TOKENS = "grid.n_tokens=[4096,8192,16384]"


def test_jobs_join_the_cells_of_a_trunk_longest_first() -> None:
    made = jobs(small_cells("grid.rungs=[16,32,48]", "grid.seeds=[0,1]", TOKENS))
    assert len(made) == 6
    assert all(job.n_tokens == (4096, 8192, 16384) for job in made)
    assert [job.spec.model.d_model for job in made] == [48, 48, 32, 32, 16, 16]


def test_a_job_trains_its_trunk_once() -> None:
    """Cooldowns of 8, 16 and 24 of 32, 64 and 128 steps; the trunk ends where the last one leaves it."""
    (job,) = jobs(small_cells(TOKENS, "optim.cooldown_frac=0.2"))
    cooldowns = {4096: 8, 8192: 16, 16384: 24}
    steps = (128 - 24) + sum(cooldowns.values())
    assert job_tokens(job) == steps * job.spec.batch_tokens
    assert job_flops(job) == counting.train_flops_token(job.spec.model) * job_tokens(job)
    (cosine,) = jobs(small_cells("optim.schedule=cosine", "grid.n_tokens=[8192]"))
    assert job_tokens(cosine) == 8192


def test_end_points_of_a_constant_schedule_train_nothing_twice() -> None:
    (job,) = jobs(small_cells("optim=schedule_free"))
    assert job_tokens(job) == max(job.n_tokens) == 8192
