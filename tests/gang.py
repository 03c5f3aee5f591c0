"""One process of several that train a tiny run together: `python -m tests.gang FOLDER SECONDS DATA FSDP`.

The environment says which one it is. After each save the first one writes how far it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.train.distributed import initialize_from_environment
from harness.train.mesh import MeshConfig
from tests.recipes import RASTER, run_spec, train

ENDS = (4 * RASTER, 8 * RASTER)
SPEC = run_spec()


def main() -> None:
    """Train to the end and print the status."""
    folder, seconds, data, fsdp = sys.argv[1:]
    initialize_from_environment()
    mesh = MeshConfig(int(data), int(fsdp))
    print(train(Path(folder), SPEC, ENDS, mesh=mesh, seconds=float(seconds)))


if __name__ == "__main__":
    main()
