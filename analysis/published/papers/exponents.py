"""Refits of an exponent: optima of nanochat, Cerebras-GPT, envelope of Gemstones, Pearce & Song."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.approaches.envelope import fit_envelope
from analysis.approaches.parametric import fit_law
from analysis.arrays import Array
from analysis.cost import six_n
from analysis.frontier import Surface, exponent, optimum
from analysis.laws import find_law
from analysis.published.papers.comparison import Comparison
from analysis.published.papers.printed import BESIROGLU, CEREBRAS, GEMSTONES, HOFFMANN, NANOCHAT, PEARCE
from analysis.tables.table import load_table

EMBEDDING = 47491  # N_total = N_body + EMBEDDING·N_body^(1/3), Pearce & Song, section 3
BODY_SIZES = (768, 1.5e9)  # range of N_body of Kaplan's models
BUDGETS = np.geomspace(1e10, 1e23, 2000)  # FLOPs
# Ranges of training tokens, whose envelopes are compared.
GEMSTONES_CUTS = {
    "all checkpoints": (0, np.inf),
    "from 100B tokens on": (100e9, np.inf),
    "up to 100B tokens": (0, 100e9),
    "above 120B tokens": (120e9, np.inf),
}


def refit_nanochat(paths: Mapping[str, Path], _resamples: int, _seed: int) -> list[Comparison]:
    """Compare the slope of log N_opt on log C under each parameter count; the runs are for information."""
    comparisons = []
    for count, optima in pd.read_csv(paths["optima.csv"]).groupby("accounting", sort=False):
        a = float(exponent(optima.flops.to_numpy(float), optima.N_opt.to_numpy(float)[None])[0])
        stored, runs = f"optima, {count}", f"runs, {count}"
        comparisons += [
            Comparison(stored, NANOCHAT[stored], a, 0.005),
            Comparison(runs, NANOCHAT[runs], a, rule="information"),
        ]
    return comparisons


def refit_cerebras(paths: Mapping[str, Path], _resamples: int, seed: int) -> list[Comparison]:
    """Fit L(C) = K·C^-kappa + E by least squares on the loss, with the authors' own count of FLOPs."""
    columns = {"N": "params", "D": "tokens", "C": "train_flops", "loss": "pile_test_xent_paper"}
    table = load_table(paths["cerebras_gpt.csv"], mapping=columns)
    params = fit_law(table, "kaplan_c_offset", estimator="lsq_loss", resamples=0, seed=seed).estimates
    scale = params["K"] ** (1 / params["kappa"])  # They write (C/C_c)^-kappa.
    return [
        Comparison("kappa", CEREBRAS["kappa"], params["kappa"], 0.002),
        Comparison("E", CEREBRAS["E"], params["E"], rule="information"),
        Comparison("C_c", CEREBRAS["C_c"], scale, rule="information"),
    ]


def refit_gemstones(paths: Mapping[str, Path], _resamples: int, _seed: int) -> list[Comparison]:
    """Compare exponents of the envelope of the FineWeb-Edu loss, from its convex hull and from bins in C.

    Compared are readings of every stored checkpoint, and of those from 100B tokens on. The authors cut their
    own curves at 100B and at 120B tokens. Stored checkpoints begin at 10B tokens and are 10B apart, so the
    same cuts give another envelope: those two exponents are for information.
    """
    rows = pd.read_csv(paths["gemstones_evals.csv"])
    found = {}
    for cut, (low, high) in GEMSTONES_CUTS.items():
        part = rows[(rows.tokens >= low) & (rows.tokens <= high)]
        columns = {"N": "N_active", "D": "tokens", "loss": "fineweb_edu_loss", "cluster": "model"}
        for fit in fit_envelope(load_table(part, mapping=columns)):
            if fit.envelope:
                found[f"{fit.envelope.method}, {cut}"] = fit.estimates["a"]
    compared = [key for key in GEMSTONES if key in found]
    theirs = {key: key.replace("their loss", "hull") for key in GEMSTONES if key not in found}
    return [Comparison(key, GEMSTONES[key], found[key], 0.02) for key in compared] + [
        Comparison(f"{key}: {ours}", GEMSTONES[key], found[ours], rule="information")
        for key, ours in theirs.items()
    ]


def refit_pearce(_paths: Mapping[str, Path], _resamples: int, _seed: int) -> list[Comparison]:
    """Compare local exponents of N_body in C_body = 6·N_body·D over the sizes of Kaplan's models.

    References: Pearce & Song 2024, arXiv:2406.12907, section 3.
    """
    laws = {"Besiroglu's constants": BESIROGLU, "Hoffmann's constants": HOFFMANN}
    return [
        Comparison(f"a, {name}", PEARCE[name], body_exponent(constants), 0.003)
        for name, constants in laws.items()
    ]


def body_exponent(constants: Mapping[str, float]) -> float:
    """Return a of N_body* ∝ C_body^a under the additive law in all parameters, by numerical search."""
    law = find_law("chinchilla")
    theta = np.array([constants[name] for name in law.params])

    def loss(body: Array, tokens: Array) -> Array:
        return law.value(theta, body + EMBEDDING * np.cbrt(body), tokens)

    surface = Surface("additive law in all parameters", loss, six_n, (1.0, 1e13))
    best = optimum(surface, BUDGETS)[0]
    inside = (best[0] >= BODY_SIZES[0]) & (best[0] <= BODY_SIZES[1])
    return float(exponent(BUDGETS[inside], best[:, inside])[0])
