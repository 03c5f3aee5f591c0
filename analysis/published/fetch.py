"""Files of published sets: from a folder, from the cache, or downloaded, each with a checked SHA-256.

The folder named by SCALING_DATA_DIR comes first, then the cache; both hold `<set>/<file>`. A file that is in
neither is downloaded with pooch from its pinned URLs into the cache.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from analysis.published.dataset import DataFile, DataSet
from harness.records.errors import InputError
from harness.records.paths import cache_root

FOLDER = "SCALING_DATA_DIR"


class PreparedTableMissing(InputError):
    """A prepared table is in no folder and cannot be downloaded."""


def cache_folder() -> Path:
    """Return the folder of downloads: `published` in the cache."""
    return cache_root() / "published"


def data_file(dataset: DataSet, file: DataFile) -> Path:
    """Return the path of a registered file after its SHA-256 was checked.

    Raises:
        PreparedTableMissing: a prepared table that neither the folder nor the cache holds.
        InputError: SCALING_DATA_DIR is no folder, a file has other bytes than registered, or no download
            succeeded.
    """
    wanted = f"{dataset.name}/{file.name}"
    for folder in (*_given_folder(), cache_folder()):
        path = folder / dataset.name / file.name
        if path.is_file():
            return _checked(path, file, dataset)
    if not file.urls:
        raise PreparedTableMissing(
            f"{dataset.name} is a prepared table ({dataset.prepared}) and cannot be downloaded: set {FOLDER} "
            f"to a folder that holds {wanted}"
        )
    return _download(dataset, file)


def _given_folder() -> list[Path]:
    """Return the folder of SCALING_DATA_DIR, or nothing if the variable is not set."""
    text = os.environ.get(FOLDER)
    if not text:
        return []
    folder = Path(text).expanduser()
    if not folder.is_dir():
        raise InputError(f"{FOLDER} is {text}, which is no folder: name the folder that holds <set>/<file>")
    return [folder]


def _checked(path: Path, file: DataFile, dataset: DataSet) -> Path:
    """Return the path; raises InputError if the file has other bytes than the registered ones."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != file.sha256:
        raise InputError(
            f"{path} is not the file of the set {dataset.name}: expected SHA-256 {file.sha256[:12]}…, got "
            f"{found[:12]}…; delete it or set {FOLDER} to a folder with the right one"
        )
    return path


def _download(dataset: DataSet, file: DataFile) -> Path:
    """Download a file from the first URL that has it; raises InputError if none does."""
    import pooch  # Only a download needs it, and it takes a while to import.

    pooch.get_logger().setLevel("WARNING")
    folder = cache_folder() / dataset.name
    reasons = []
    for url in file.urls:
        try:
            found = pooch.retrieve(url, f"sha256:{file.sha256}", fname=file.name, path=folder)
        except OSError as error:
            reasons.append(type(error).__name__)
        except ValueError:  # pooch compared the SHA-256.
            reasons.append("other bytes than registered")
        else:
            return Path(found)
    raise InputError(
        f"{file.name} of the set {dataset.name} could not be downloaded from {file.urls[0]} "
        f"({', '.join(reasons)}): connect to the network, or set {FOLDER} to a folder that holds "
        f"{dataset.name}/{file.name}"
    )
