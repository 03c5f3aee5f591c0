"""Refit of a published set, and its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.published.dataset import DataSet
from analysis.published.fetch import PreparedTableMissing, data_file
from analysis.published.papers import emergent, epoch, exponents, gadre, multi_power, porian
from analysis.published.papers.comparison import Comparison
from harness.records.json_files import plain

# (paths of the files by name, bootstrap resamples, seed) -> comparisons.
Refit = Callable[[Mapping[str, Path], int, int], list[Comparison]]

REFITS: dict[str, Refit] = {
    "epoch_chinchilla": epoch.refit,
    "porian2024_refinedweb": porian.refit,
    "gadre2024": gadre.refit,
    "nanochat_isoflop": exponents.refit_nanochat,
    "cerebras_gpt": exponents.refit_cerebras,
    "gemstones": exponents.refit_gemstones,
    "pearce2024": exponents.refit_pearce,
    "mpl_curves": multi_power.refit,
    "pythia_evals": emergent.refit_pythia,
    "obsscaling_emergent": emergent.refit_ipa,
    "gpt3_emergence": emergent.refit_gpt3,
}


@dataclass(frozen=True)
class Outcome:
    """Outcome of the refit of one set.

    Attributes:
        dataset: the set.
        comparisons: obtained beside published numbers.
        note: the reason if there are no comparisons.
        seconds: duration of the refit without downloads.
    """

    dataset: DataSet
    comparisons: tuple[Comparison, ...] = ()
    note: str | None = None
    seconds: float = 0.0

    @property
    def compared(self) -> int:
        """Number of comparisons with a tolerance."""
        return sum(row.ok is not None for row in self.comparisons)

    @property
    def off(self) -> int:
        """Number of comparisons outside their tolerance."""
        return sum(row.ok is False for row in self.comparisons)

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome as JSON types."""
        return {
            "name": self.dataset.name,
            "title": self.dataset.title,
            "reference": self.dataset.reference,
            "source": self.dataset.source,
            "licence": self.dataset.licence,
            "note": self.note,
            "seconds": self.seconds,
            "comparisons": [plain(row.to_dict()) for row in self.comparisons],
        }


def refit_set(dataset: DataSet, resamples: int, seed: int, *, required: bool) -> Outcome:
    """Fetch and refit one set.

    Args:
        dataset: the set.
        resamples: bootstrap refits, for sets whose standard errors are compared.
        seed: seed of random starts and resamples.
        required: raise instead of skipping a set whose prepared table is missing.

    Raises:
        InputError: a file is missing and cannot be downloaded, or has other bytes than registered.
    """
    began = time.perf_counter()
    try:
        paths = {file.name: data_file(dataset, file) for file in dataset.files}
    except PreparedTableMissing as error:
        if required:
            raise
        return Outcome(dataset, note=f"skipped: {error}")
    comparisons = tuple(REFITS[dataset.name](paths, resamples, seed))
    return Outcome(dataset, comparisons, seconds=time.perf_counter() - began)
