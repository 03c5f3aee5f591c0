"""Tests of harness and analysis: a folder here for each folder there; see README.md."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Published tables too large for the repository; tests that need them are skipped if they are missing.
PUBLISHED = Path(os.environ.get("SCALING_DATA_DIR", ROOT.parent / "shared" / "data"))
