"""Verdicts on skills called emergent, for published ladders of models.

Expected verdicts stand in for published numbers, 1 for agreement. LAMBADA improves smoothly under accuracy
and perplexity. Exact match of IPA transliteration stays at zero while BLEU rises.

References: Schaeffer et al. 2023, arXiv:2304.15004; Srivastava et al. 2022, arXiv:2206.04615, section 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.emergence.read import read_foreign
from analysis.emergence.statistics.sharpness import Design
from analysis.emergence.statistics.width import JumpGrid
from analysis.emergence.study import judge_jumps
from analysis.published.papers.comparison import Comparison
from analysis.published.papers.printed import PYTHIA
from analysis.records.emergence import TaskRecord, Verdict

LAST_STEP, WORST_PERPLEXITY = 143_000, 3000
LAMBADA = {"N": "N", "exact": "lambada_openai.acc", "perplexity": "lambada_openai.ppl", "task": "deduped"}
FAMILIES = ("OPT", "Pythia")


def _tasks(
    table: pd.DataFrame, columns: Mapping[str, str], seed: int, scale: Mapping[str, float] | None = None
) -> dict[str, TaskRecord]:
    """Return the record of each task on the first axis, by name of the task."""
    found = judge_jumps(read_foreign(table, columns, {}, 0.0, scale or {}), seed=seed)
    return {task.task: task for task in found.first}


def _agreement(quantity: str, tasks: Sequence[TaskRecord], wanted: Verdict) -> Comparison:
    """Compare the verdicts with the expected one; the obtained number is 1 if all agree, else 0."""
    return Comparison(quantity, 1.0, float(all(task.verdict == wanted for task in tasks)))


def _width(task: TaskRecord) -> float:
    """Return the 10–90 % width of one logistic between two levels of ln NLL, decades."""
    x, nll, n_seeds = np.array([(size.x, size.nll, size.n_seeds) for size in task.sizes], float).T
    found = JumpGrid(Design(x, n_seeds), slope=False).fit(np.log(nll)[None])
    return float(found.width[0])


def refit_pythia(paths: Mapping[str, Path], _resamples: int, seed: int) -> list[Comparison]:
    """Compare zero-shot LAMBADA of Pythia.

    The verdicts are those of the last step of both ladders, with and without deduplication. The regression
    of ln accuracy on ln perplexity takes every step with a perplexity below WORST_PERPLEXITY.
    """
    rows = pd.read_csv(paths["pythia_v1_evals.csv"])
    rows = rows[rows["shots"] == 0]
    found = _tasks(rows[rows["step"] == LAST_STEP], LAMBADA, seed)
    width = _width(found["0"])
    breakthroughness = found["1"].descriptive.breakthroughness_smooth
    assert breakthroughness is not None
    own = rows[(rows["deduped"] == 0) & (rows[LAMBADA["perplexity"]] < WORST_PERPLEXITY)]
    own = own[own[LAMBADA["exact"]] > 0]
    x, y = -np.log(own[LAMBADA["perplexity"]]), np.log(own[LAMBADA["exact"]])
    return [
        _agreement("LAMBADA smooth under both metrics", list(found.values()), Verdict.SMOOTH),
        Comparison(
            "slope of ln accuracy in ln(1/perplexity)", PYTHIA["slope"], float(np.polyfit(x, y, 1)[0]), 0.005
        ),
        Comparison("its R²", PYTHIA["r2"], float(np.corrcoef(x, y)[0, 1] ** 2), 0.002),
        Comparison("10–90 % width of the log loss, decades", PYTHIA["width"], width, 0.5),
        Comparison(
            "breakthroughness of the log loss, deduplicated",
            PYTHIA["breakthroughness"],
            breakthroughness,
            0.05,
        ),
    ]


def refit_ipa(paths: Mapping[str, Path], _resamples: int, seed: int) -> list[Comparison]:
    """Compare exact match with BLEU in IPA transliteration, for OPT and Pythia along compute."""
    emergent, about = (
        pd.read_csv(paths[f"base_llm_{part}_eval.csv"]) for part in ("emergent_capability", "benchmark")
    )
    rows = emergent.merge(about, on="Model")
    rows = rows[rows["Model Family"].isin(FAMILIES)]
    columns = {
        "C": "FLOPs (1E21)",
        "exact": "ipa_transliterate_2_exact_match",
        "score": "ipa_transliterate_2_bleu",
        "task": "Model Family",
    }
    found = _tasks(rows, columns, seed, {"C": 1e21, "score": 0.01})
    quantity = "IPA: exact match too coarse for what BLEU shows"
    return [
        _agreement(f"{quantity}, {family}", [found[family]], Verdict.BELOW_RESOLUTION) for family in FAMILIES
    ]


def refit_gpt3(paths: Mapping[str, Path], _resamples: int, seed: int) -> list[Comparison]:
    """Compare accuracy with perplexity in zero-shot LAMBADA of GPT-3."""
    columns = {"N": "params", "exact": "lambada_acc", "perplexity": "lambada_ppl"}
    found = _tasks(pd.read_csv(paths["gpt3_zero_shot.csv"]), columns, seed)
    return [_agreement("LAMBADA smooth under both metrics", list(found.values()), Verdict.SMOOTH)]
