"""Answers to the questions of a command: predictions of a table's laws, with accuracy if it has some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.arrays import Array
from analysis.prediction.accuracy import fit_accuracy, with_accuracy
from analysis.prediction.predictor import Predictor
from analysis.prediction.questions import ALONE, Question
from analysis.prediction.text import accuracy_text, predictions_text
from analysis.records.predictions import AccuracyRecord, PredictionRecord
from analysis.result import Fit
from analysis.tables.names import with_plain_names
from analysis.tables.numbers import Kind, mark_of, read_numbers
from analysis.tables.table import LossTable
from harness.records.errors import InputError, near
from harness.records.json_files import to_json


@dataclass(frozen=True)
class Answers:
    """Answers to questions.

    Attributes:
        predictions: one a question.
        column: name of the column of accuracies, if one is predicted.
        accuracy: how it follows the loss; None without one.
    """

    predictions: tuple[PredictionRecord, ...]
    column: str | None = None
    accuracy: AccuracyRecord | None = None

    @property
    def text(self) -> str:
        """The answers in words."""
        said = [predictions_text(self.predictions)]
        if self.accuracy and self.column:
            said.append(accuracy_text(self.accuracy, self.column))
        return "\n".join(said)

    def to_json(self) -> dict[str, Any]:
        """Return the keys that these answers add to the JSON of a fit."""
        found = {"predictions": to_json(self.predictions)}
        return found | ({"accuracy": to_json(self.accuracy)} if self.accuracy else {})


NO_ANSWERS = Answers(())


@dataclass(frozen=True)
class Asked:
    """Questions of a command.

    Attributes:
        questions: as `parse_questions` returns them.
        accuracy: column of accuracies to predict as well.
        chance: accuracy of guessing; None fits it.
    """

    questions: Sequence[Question] = ()
    accuracy: str | None = None
    chance: float | None = None

    def answered(
        self,
        frame: pd.DataFrame,
        table: LossTable,
        alone: Fit | None = None,
        *,
        resamples: int,
        level: float,
        seed: int,
    ) -> Answers:
        """Answer the questions, by one fit or over the laws that the rows cannot exclude.

        Args:
            frame: the table as it is in its file.
            table: the table as it was read.
            alone: the fit whose law speaks alone.
            resamples, level, seed: as `Predictor` takes them.

        Raises:
            InputError: a question that the laws cannot answer, or accuracies that cannot be used.
        """
        if alone:
            predictor = Predictor.of_fit(alone, table, level=level, seed=seed)
        else:
            predictor = Predictor.over_laws(table, resamples=resamples, level=level, seed=seed)
        found = answer(predictor, self.questions)
        if self.accuracy is None:
            return Answers(tuple(found))
        loss, accuracy = accuracies(frame, self.accuracy, table)
        curve = fit_accuracy(loss, accuracy, chance=self.chance, seed=seed)
        shown = tuple(with_accuracy(each, curve, predictor, seed) for each in found)
        return Answers(shown, self.accuracy, curve.to_record())


def answer(predictor: Predictor, questions: Sequence[Question]) -> list[PredictionRecord]:
    """Answer questions, each by itself; raises InputError for one that the laws cannot answer."""
    return [
        predictor.run(asked["N"], asked["D"])
        if len(asked) > 1
        else predictor.best(**{ALONE[name]: value for name, value in asked.items()})
        for asked in questions
    ]


def accuracies(frame: pd.DataFrame, column: str, table: LossTable) -> tuple[Array, Array]:
    """Return loss and accuracy of the fitted rows that have one, each [rows].

    Raises:
        InputError: there is no such column, or a value that is no number.
    """
    frame = with_plain_names(frame)
    if column not in frame.columns:
        there = ", ".join(map(str, frame.columns))
        raise InputError(
            f"the table has no column {column!r}, expected one of accuracies out of {there}"
            f"{near(column, [str(name) for name in frame.columns])}",
            "accuracy",
        )
    found = read_numbers(frame[column], Kind.SHARE, mark_of(frame))
    if found.unread:
        row, text = next(iter(found.unread.items()))
        raise InputError(
            f"row {row} has {column}={text!r}, expected a share such as 0.43 or 43 %", "accuracy"
        )
    values = found.values[table.row]
    known = np.isfinite(values)
    return table.loss[known], values[known]
