"""Runs of `python -m analysis.import_runs` in tests: the stored files of trackers, and what comes out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis import import_runs
from analysis.trackers.record import SCHEMA, ImportRecord
from harness.records.json_files import read_record
from tests import ROOT
from tests.analysis.trackers.truth import TOKENS_PER_STEP

STORED = ROOT / "tests" / "stored" / "tracked"
PER_STEP = ["--tokens-per-step", str(TOKENS_PER_STEP)]
SIZES = ["--params-from", r"gpt-([\d.]+[MB])"]


def imported(*arguments: object) -> tuple[pd.DataFrame, pd.DataFrame | None, ImportRecord]:
    assert import_runs.main([str(each) for each in arguments]) == 0
    curves = Path("runs.curves.csv")
    record = read_record(Path("runs.import.json"), ImportRecord, SCHEMA)
    return pd.read_csv("runs.csv"), pd.read_csv(curves) if curves.exists() else None, record
