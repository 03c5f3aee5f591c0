"""Skills called emergent: what the test for jumps says of published ladders of models.

`published` is what is known of these sets: LAMBADA improves smoothly under accuracy and perplexity, and exact
match of IPA transliteration stays at zero while BLEU rises. 1 stands for yes.

References: Schaeffer et al. 2023, arXiv:2304.15004; Srivastava et al. 2022, arXiv:2206.04615, section 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.emergence.read import read_foreign
from analysis.emergence.study import judge_jumps
from analysis.emergence.verdict import Verdict
from analysis.published.papers.comparison import Comparison
from analysis.published.papers.printed import PYTHIA

LAST_STEP, WORST_PERPLEXITY = 143_000, 3000
LAMBADA = {"N": "N", "exact": "lambada_openai.acc", "perplexity": "lambada_openai.ppl", "task": "deduped"}
FAMILIES = ("OPT", "Pythia")


def _verdicts(
    table: pd.DataFrame, columns: Mapping[str, str], seed: int, scale: Mapping[str, float] | None = None
) -> dict[str, dict[str, object]]:
    """The entry of each task on the first axis."""
    found = judge_jumps(read_foreign(table, columns, {}, 0.0, scale or {}), seed=seed)
    return {
        str(entry["task"]): entry for entry in found["tasks"] if entry["axis"] == found["axes"][0]["axis"]
    }


def _agreement(quantity: str, entries: Sequence[Mapping[str, object]], wanted: Verdict) -> Comparison:
    return Comparison(quantity, 1.0, float(all(entry["verdict"] == wanted.value for entry in entries)))


def refit_pythia(paths: Mapping[str, Path], _resamples: int, seed: int) -> list[Comparison]:
    """LAMBADA without examples at the last step, both ladders; accuracy against perplexity over all steps."""
    rows = pd.read_csv(paths["pythia_v1_evals.csv"])
    rows = rows[rows["shots"] == 0]
    found = _verdicts(rows[rows["step"] == LAST_STEP], LAMBADA, seed)
    own = rows[(rows["deduped"] == 0) & (rows[LAMBADA["perplexity"]] < WORST_PERPLEXITY)]
    own = own[own[LAMBADA["exact"]] > 0]
    x, y = -np.log(own[LAMBADA["perplexity"]]), np.log(own[LAMBADA["exact"]])
    return [
        _agreement("LAMBADA smooth under both metrics", list(found.values()), Verdict.SMOOTH),
        Comparison(
            "slope of ln accuracy in ln(1/perplexity)", PYTHIA["slope"], float(np.polyfit(x, y, 1)[0]), 0.005
        ),
        Comparison("its R²", PYTHIA["r2"], float(np.corrcoef(x, y)[0, 1] ** 2), 0.002),
        Comparison(
            "10–90 % width of the log loss, decades", PYTHIA["width"], _of(found["0"], "width", "width"), 0.5
        ),
        Comparison(
            "breakthroughness of the log loss, deduplicated",
            PYTHIA["breakthroughness"],
            _of(found["1"], "descriptive", "breakthroughness_smooth"),
            0.05,
        ),
    ]


def _of(entry: Mapping[str, object], part: str, key: str) -> float:
    values = entry[part]
    assert isinstance(values, dict)
    return float(values[key])


def refit_ipa(paths: Mapping[str, Path], _resamples: int, seed: int) -> list[Comparison]:
    """IPA transliteration of the OPT and Pythia families along compute: exact match against BLEU."""
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
    found = _verdicts(rows, columns, seed, {"C": 1e21, "score": 0.01})
    quantity = "IPA: exact match too coarse for what BLEU shows"
    return [
        _agreement(f"{quantity}, {family}", [found[family]], Verdict.BELOW_RESOLUTION) for family in FAMILIES
    ]


def refit_gpt3(paths: Mapping[str, Path], _resamples: int, seed: int) -> list[Comparison]:
    """LAMBADA without examples."""
    columns = {"N": "params", "exact": "lambada_acc", "perplexity": "lambada_ppl"}
    found = _verdicts(pd.read_csv(paths["gpt3_zero_shot.csv"]), columns, seed)
    return [_agreement("LAMBADA smooth under both metrics", list(found.values()), Verdict.SMOOTH)]
