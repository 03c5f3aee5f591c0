"""What a disk refuses is said in a sentence: reading is not called writing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from harness.launch.ending import disk_trouble


def refusal(code: int, path: Path) -> OSError:
    return OSError(code, os.strerror(code), str(path))


def test_what_may_not_be_read_is_not_called_a_folder_that_may_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "runs" / "ab"
    locked.mkdir(parents=True)

    def may(path: str | Path, mode: int) -> bool:
        return Path(path) != locked or mode == os.W_OK

    monkeypatch.setattr(os, "access", may)
    said = disk_trouble(refusal(errno.EACCES, locked / "points" / "x.json"))
    assert said == f"{locked} may not be read; change its rights"
    said = disk_trouble(refusal(errno.EACCES, tmp_path / "new"))
    assert said is not None
    assert said.startswith("the folder may not be written")


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "full"), (errno.EPERM, "written"), (errno.EIO, None), (errno.EISDIR, "a folder"),
     (errno.ENOTDIR, "a file stands"), (errno.EXDEV, None)],
)  # fmt: skip
def test_other_refusals(tmp_path: Path, code: int, words: str | None) -> None:
    said = disk_trouble(refusal(code, tmp_path / "x"))
    assert (said is None) if words is None else (said is not None and words in said)
