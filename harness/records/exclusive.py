"""Creation of a file by one process alone, whichever of several begins first."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path


def write_new(path: Path, text: str) -> bool:
    """Create a file with this content; return False if there is one already.

    Of several processes, on any hosts, one alone creates it. Others see the whole content or no file, except
    on a file system without hard links, where they may see it empty for a moment.
    """
    draft = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex}.tmp")
    try:
        draft.write_text(text)
        return link_new(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def link_new(draft: Path, path: Path) -> bool:
    """Give a whole file a second name, which no file has; return False if one has it already."""
    try:
        # A hard link, because `link` fails if the name exists, on network file systems too.
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError:
        # Some file systems have no hard links.
        try:
            file = open(path, "x")  # noqa: SIM115
        except FileExistsError:
            return False
        try:
            with file:
                file.write(draft.read_text())
        except OSError:
            path.unlink(missing_ok=True)
            raise
    return True
