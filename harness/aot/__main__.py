"""`python -m harness.aot +grid=NAME topology=v5e:4x4 [overrides]`: compile the step for absent devices.

Compiles each rung's sharded training step ahead of time. Prints the peak memory of a device by the compiler
and by counting (`harness.execution.memory`), the collectives, and whether the step fits. Exit codes: 0 all
fit, 1 some do not, 2 wrong input.
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from harness.aot.topology import EXAMPLES, Topology
from harness.config.schema import SweepSettings
from harness.config.settings import known_keys, load_noted, options, plain
from harness.execution.execution import Execution, MeshConfig, check_mesh, check_platform
from harness.execution.memory import DeviceMemory, device_memory
from harness.grid.expansion import expand
from harness.recipe import counting
from harness.recipe.spec import DataSpec, RunSpec
from harness.records.command_line import CommandParser
from harness.records.errors import InputError
from harness.records.number_text import si
from harness.track.console import plain_console, print_notes

MIB = 2**20
# Steps of the compiled program. They are scanned, so memory hardly depends on their number.
STEPS = 2
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
EXAMPLE = """\
python -m harness.aot +grid=chinchilla topology=v5e:4x4 mesh.data=4 mesh.fsdp=4 execution.remat=full

TPU topologies need the extra 'tpu', H100 nodes the extra 'gpu-aot': uv sync --extra tpu"""


@dataclass(frozen=True)
class Compiled:
    """Result of compiling one rung.

    Attributes:
        spec: Recipe of the rung.
        seconds: Compile time.
        peak: Peak bytes on one device, by the compiler.
        collectives: Number of each collective in the program.
        analytic: Bytes on one device, by counting.
    """

    spec: RunSpec
    seconds: float
    peak: float
    collectives: Counter[str]
    analytic: DeviceMemory


def without_topology(arguments: list[str]) -> tuple[Topology, list[str]]:
    """Split off the topology from the arguments of a sweep; raise InputError if none is given."""
    given = [item.split("=", 1)[1] for item in arguments if item.startswith("topology=")]
    if not given:
        raise InputError(f"a topology was expected and none was given; add topology={EXAMPLES.split(',')[0]}")
    return Topology.parse(given[-1]), [item for item in arguments if not item.startswith("topology=")]


def rung_specs(settings: SweepSettings) -> list[RunSpec]:
    """Return one recipe per rung, with the configured vocabulary size: no corpus is read."""
    if not settings.data.vocab_size:
        raise InputError(
            "the size of the vocabulary was expected, because no tokenizer is read here; add "
            "data.vocab_size=50304"
        )
    data = DataSpec("none", "none", 0.0, settings.data.eval_tokens, settings.data.curve_eval_tokens)
    cells = expand(settings, data, settings.data.vocab_size)
    return list({cell.spec.rung: cell.spec for cell in cells}.values())


def compile_rung(
    spec: RunSpec, mesh_config: MeshConfig, execution: Execution, devices: list[Any]
) -> Compiled:
    """Compile the training step of a recipe for these devices."""
    # Late imports: `Topology.prepare` must set the environment before JAX is imported.
    import jax
    import numpy as np

    from harness.engine.mesh import make_mesh
    from harness.engine.step import engine_for
    from harness.recipe.spec import GROUPS

    engine = engine_for(spec, make_mesh(mesh_config, devices), execution)
    n_micro = spec.optim.batch_size // engine.micro_batch
    shape = (STEPS, n_micro, engine.micro_batch, spec.model.seq_len + 1)
    factor = jax.ShapeDtypeStruct((), np.float32)
    began = time.monotonic()
    program = engine.advance.lower(
        engine.abstract_state,
        jax.ShapeDtypeStruct(shape, np.int32),
        jax.ShapeDtypeStruct((STEPS,), np.float32),
        dict.fromkeys(GROUPS, factor),
    ).compile()
    return Compiled(
        spec=spec,
        seconds=time.monotonic() - began,
        peak=peak_bytes(program.memory_analysis()),
        collectives=collectives(program.as_text() or ""),
        analytic=device_memory(
            spec.model,
            mesh_config,
            execution.remat,
            engine.micro_batch,
            n_micro,
            engine.forward.layout.attention,
        ),
    )


def peak_bytes(memory: Any) -> float:
    """Return the peak bytes: arguments, temporaries, and results except those in donated arguments."""
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return float(memory.argument_size_in_bytes + results + memory.temp_size_in_bytes)


def collectives(program: str) -> Counter[str]:
    """Return the number of each collective in a compiled program; a scanned body counts once."""
    return Counter(re.findall(rf" ({'|'.join(COLLECTIVES)})(?:-start)?\(", program))


def row(compiled: Compiled, limit: int) -> list[str]:
    """Return one row of the printed table."""
    found = ", ".join(f"{count} {name}" for name, count in sorted(compiled.collectives.items())) or "none"
    return [
        compiled.spec.rung,
        si(counting.n_params(compiled.spec.model)),
        f"{compiled.seconds:.0f}",
        f"{compiled.peak / MIB:,.0f}",
        f"{compiled.analytic.total / MIB:,.0f}",
        f"{compiled.analytic.total / compiled.peak:.2f}",
        "yes" if compiled.peak <= limit else "no",
        found,
    ]


def run(topology: Topology, settings: SweepSettings, console: Console) -> int:
    """Compile every rung and print the table; return 1 if a rung does not fit, else 0."""
    mesh, execution = settings.mesh.sizes, Execution(**plain(settings.execution))
    specs = rung_specs(settings)
    check_mesh(specs, mesh, execution)
    check_platform(specs, mesh, execution, topology.platform)
    if topology.platform == "gpu" and execution.attention is None:
        # Compiling cuDNN's attention needs cuDNN itself, which is not installed here.
        execution = replace(execution, attention="xla")
    topology.prepare()
    devices = topology.devices()
    if mesh.n_devices != len(devices):
        raise InputError(
            f"{mesh} makes {mesh.n_devices} devices and topology={topology} has {len(devices)}; "
            f"choose mesh sizes whose product is {len(devices)}, for example mesh.data={len(devices)}"
        )
    limit = topology.device_bytes
    table = Table(box=SIMPLE, title=f"{len(devices)} × {topology.kind}, {mesh}", title_justify="left")
    names = (
        "rung",
        "N",
        "compile s",
        "peak MiB",
        "counted MiB",
        "ratio",
        f"fits {limit / MIB:,.0f}",
        "collectives",
    )
    for name in names:
        table.add_column(name, justify="left" if name in ("rung", "collectives") else "right")
    results = [compile_rung(spec, mesh, execution, devices) for spec in specs]
    for compiled in results:
        table.add_row(*row(compiled, limit))
    console.print(table)
    return int(any(compiled.peak > limit for compiled in results))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = CommandParser(
        "harness.aot",
        "Compile each rung's training step for devices that are not here, and tell whether it fits them.",
        EXAMPLE,
        ("topology", *known_keys()),
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help=f"+grid=NAME, one of: {', '.join(options('grid'))}; topology=KIND:SHAPE, for example "
        f"{EXAMPLES}; and any other key of harness.sweep, for example mesh.data=4",
    )
    return parser.answer(arguments, lambda found: compile_all(found.overrides))


def compile_all(arguments: list[str]) -> int:
    """Compile for the topology among the arguments, with the settings that the others make."""
    topology, overrides = without_topology(arguments)
    console = plain_console()
    found = load_noted(overrides)
    print_notes(console, found.notes)
    return run(topology, found.settings, console)


if __name__ == "__main__":
    sys.exit(main())
