"""Where numbers come from."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from harness.records import provenance as module
from harness.records.json_files import from_json, to_json
from harness.records.provenance import Provenance, code_revision, cpu_name, provenance, usable_cores


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit in place of this one."""

    def git(*words: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "a.py").write_text("1\n")
    (tmp_path / "notes.txt").write_text("1\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    code_revision.cache_clear()
    yield tmp_path
    code_revision.cache_clear()


def test_revision_is_marked_when_code_differs(repository: Path) -> None:
    clean = code_revision()
    assert re.fullmatch(r"[0-9a-f]{12}", clean)
    (repository / "notes.txt").write_text("2\n")
    code_revision.cache_clear()
    assert code_revision() == clean
    (repository / "harness" / "a.py").write_text("2\n")
    code_revision.cache_clear()
    assert code_revision() == clean + "+"


def test_outside_a_repository_the_revision_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    code_revision.cache_clear()
    assert code_revision() == "unknown"
    assert provenance().lock_sha256 is None
    code_revision.cache_clear()


def test_without_git_the_revision_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    code_revision.cache_clear()
    assert code_revision() == "unknown"
    code_revision.cache_clear()


def test_record_names_versions_lock_and_machine() -> None:
    record = provenance()
    assert from_json(to_json(record), Provenance, "x") == record
    assert record.versions["jax"] == version("jax")
    lock = (module.ROOT / "uv.lock").read_bytes()
    assert record.lock_sha256 == hashlib.sha256(lock).hexdigest()
    assert record.cores == len(usable_cores()) >= 1
    assert record.machine == cpu_name() != ""


def test_cores_are_found_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cores() == list(range(os.cpu_count() or 1))
