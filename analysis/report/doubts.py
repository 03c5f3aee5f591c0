"""Warnings of a report: each once, in words, with what to do about it, the gravest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.advice import ADVICE, Advice, Source, by_gravity
from analysis.laws import family
from analysis.records.fit import FitRecord
from analysis.records.warning_codes import SEVERITY, FitWarning, Severity, WarningCode

COUNT_WORDS = {"n_params_matmul": "body + head", "n_params_body": "body only", "n_params": "all"}


@dataclass(frozen=True)
class Doubt:
    """One kind of warning with everything that raised it.

    Attributes:
        code: its stable name.
        messages: messages with their numbers, each with the other fits that carry it.
        command: what to type next; None if no command is the remedy, or another warning names it already.
    """

    code: WarningCode
    messages: tuple[tuple[str, tuple[str, ...]], ...]
    command: str | None

    @property
    def severity(self) -> Severity:
        """What it does to the numbers."""
        return SEVERITY[self.code]

    @property
    def advice(self) -> Advice:
        """What is in doubt, and what to do."""
        return ADVICE[self.code]


def own_doubts(
    warnings: Sequence[FitWarning], quoted: FitRecord | None, source: Source | None = None
) -> list[Doubt]:
    """Return the warnings about the whole and about the recommended fit, each once, by kind.

    Args:
        warnings: those about the whole.
        quoted: the recommended fit.
        source: where the runs come from, for commands to type next.
    """
    return _by_kind({warning: [] for warning in _own(warnings, quoted)}, source)


def other_doubts(
    warnings: Sequence[FitWarning], quoted: FitRecord | None, fits: Sequence[FitRecord]
) -> list[Doubt]:
    """Return the warnings that only other fits raise, each once, by kind."""
    own = _own(warnings, quoted)
    carriers: dict[FitWarning, list[str]] = {}
    for fit in fits:
        for warning in fit.warnings:
            if warning not in own:
                carriers.setdefault(warning, []).append(_label(fit))
    return _by_kind(carriers)


def _own(warnings: Sequence[FitWarning], quoted: FitRecord | None) -> list[FitWarning]:
    return list(dict.fromkeys((*warnings, *(quoted.warnings if quoted else ()))))


def _by_kind(carriers: Mapping[FitWarning, Sequence[str]], source: Source | None = None) -> list[Doubt]:
    """Return one doubt a kind, the gravest first; `carriers` maps a warning to the fits that raise it."""
    doubts, said = [], set[str | None]()
    for code in by_gravity(warning.code for warning in carriers):
        command = ADVICE[code].command(source)
        messages = tuple(
            (w.message, tuple(dict.fromkeys(names))) for w, names in carriers.items() if w.code == code
        )
        doubts.append(Doubt(code, messages, None if command in said else command))
        said.add(command)
    return doubts


def _label(fit: FitRecord) -> str:
    name = family(fit.law) if fit.approach in ("parametric", "kaplan") else fit.approach
    return f"{name}, N {COUNT_WORDS.get(fit.count, fit.count)}"
