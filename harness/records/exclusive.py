"""Creation of a file by one process alone, whichever of several begins first."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from pathlib import Path

# Age at which a claim to a name belongs to a dead process, seconds.
CLAIM_SECONDS = 60.0


def write_new(path: Path, text: str) -> bool:
    """Create a file with this content; return False if there is one already.

    Of several processes, on any hosts, one alone creates it. Others see the whole content or no file.
    """
    draft = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex}.tmp")
    try:
        draft.write_text(text)
        return link_new(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def link_new(draft: Path, path: Path) -> bool:
    """Give a whole file a name that no file has; return False if one has it already.

    Of several processes, on any hosts, one alone succeeds. The draft may have lost its own name afterwards.
    """
    try:
        # A hard link, because `link` fails if the name exists, on network file systems too.
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError:
        # Some file systems have no hard links.
        return _claimed_and_renamed(draft, path)
    return True


def _claimed_and_renamed(draft: Path, path: Path) -> bool:
    """Do as `link_new` without hard links: the one process that makes a folder looks and renames."""
    claim = path.with_name(f"{path.name}.taken")
    try:
        claim.mkdir()
    except FileExistsError:
        with contextlib.suppress(OSError):
            # The process that made the folder died before it renamed its file. The next attempt gets further.
            if draft.stat().st_mtime - claim.stat().st_mtime > CLAIM_SECONDS:
                claim.rmdir()
        return False
    try:
        if os.path.lexists(path):
            return False
        os.rename(draft, path)
    finally:
        with contextlib.suppress(OSError):
            claim.rmdir()
    return True
