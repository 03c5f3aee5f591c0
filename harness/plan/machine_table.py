"""The printed plan for devices that are not here: memory and speed of each rung, then time and cost."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from harness.plan.estimate import Estimate, RungEstimate, estimate_on
from harness.plan.machine import (
    JAX_SHARE,
    LARGER_SHARE,
    LAYER_SECONDS,
    PRODUCT_SHARE,
    SHARE_VARIABLES,
    TIGHT,
    Machine,
    gib,
)
from harness.plan.plan import Plan
from harness.plan.table import print_cells, print_tokens_saved
from harness.recipe.spec import RunSpec
from harness.records.command_line import program_name
from harness.records.number_text import DASH, duration, given, number, percent, si
from harness.track.console import print_notes

COLUMNS = ("rung", "runs", "GiB a device", "fits", "tokens/s", "ms a step", "MFU", "time")


def print_machine_plan(
    console: Console, plan: Plan, machine: Machine, notes: Sequence[str] = (), recipes: bool = False
) -> None:
    """Print cells and notes, a table of rungs on the machine, what does not fit, time and cost."""
    print_cells(console, plan, notes, recipes)
    estimate = estimate_on(plan, machine)
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("rung", "fits") else "right", no_wrap=True)
    for rung in estimate.rungs:
        table.add_row(*_row(rung, machine))
    console.print(_headline(machine))
    console.print(table)
    specs = [rung.spec for rung in estimate.rungs]
    lines = [*fit_lines(estimate, machine), *idle_lines(machine), *basis_lines(machine, specs)]
    print_notes(console, lines)
    console.print(
        f"to train: {plan.open_flops:.2e} FLOPs with evaluations, {time_words(estimate.seconds, machine)}"
    )
    print_tokens_saved(console, plan)


def _headline(machine: Machine) -> str:
    """Return what the plan is made for."""
    n = machine.mesh.n_devices
    place = "one" if n == 1 else f"{n} ({machine.mesh})"
    packed = ", small runs in packs" if n == 1 and machine.devices.accelerator is not None else ""
    return f"on {machine.devices}, {machine.at_once} run(s) at a time, each on {place}{packed}:"


def _row(rung: RungEstimate, machine: Machine) -> list[str]:
    """Return the row of a rung."""
    spec = rung.spec
    step = machine.step_seconds(spec, rung.n_runs)
    mfu = machine.utilisation(spec, rung.n_runs)
    return [
        spec.rung,
        str(rung.n_open),
        gib(rung.n_bytes),
        _fit(rung, machine),
        si(rung.n_runs * spec.batch_tokens / step),
        number(1e3 * step, 2),
        percent(mfu, 1),
        duration(rung.seconds),
    ]


def _fit(rung: RungEstimate, machine: Machine) -> str:
    """Return whether a rung fits into the memory that a run can use."""
    if machine.capacity is None:
        return DASH
    if rung.n_bytes > machine.capacity:
        return "no"
    return "tight" if rung.n_bytes > TIGHT * machine.capacity else "yes"


def fit_lines(estimate: Estimate, machine: Machine) -> list[str]:
    """Return a sentence on each rung that does not fit, or only just does, with what to type."""
    if machine.capacity is None:
        return []
    name, room = machine.devices.name, gib(machine.capacity)
    lines = []
    for rung in estimate.rungs:
        fit, need = _fit(rung, machine), gib(rung.n_bytes)
        packed = f" with {rung.n_runs} runs in a pack" if rung.n_runs > 1 else ""
        rest = f"{need} of {room} GiB, and the count may be 15 % low"
        if fit == "no":
            lines.append(
                f"{rung.spec.rung}{packed} does not fit: {need} GiB are needed and a run can use {room} GiB "
                f"of one {name}; {machine.remedy(rung.spec, rung.n_runs)}"
            )
        elif fit == "tight":
            asked = f"{program_name('harness.aot')} asks the compiler"
            lines.append(f"{rung.spec.rung}{packed} fits only just: {rest}; {asked}")
    return lines


def idle_lines(machine: Machine) -> list[str]:
    """Return a sentence if some of the devices never train."""
    idle = machine.devices.count - machine.n_busy
    if not idle:
        return []
    return [
        f"{idle} of {machine.devices} stay idle, because {machine.at_once} run(s) at a time use "
        f"{machine.mesh.n_devices} each; enlarge the mesh or launcher.n_workers, or plan for fewer devices"
    ]


def basis_lines(machine: Machine, specs: Sequence[RunSpec]) -> list[str]:
    """Return sentences on what memory and speed rest on, for a reader who never saw this code.

    Args:
        machine: the machine.
        specs: recipe of each rung.
    """
    sheet, name = machine.devices.accelerator, machine.devices.name
    if sheet is None:
        return [
            "the speed is measured: a core of this machine multiplied matrices for a second, and steps reach "
            "the share of that speed that they reached where it was measured; a mesh of several cores counts "
            "as so many times faster, and how much memory that machine has is not known"
        ]
    precision = specs[0].model.precision
    promise = f"{sheet.peak(precision) / 1e12:,.0f} TFLOP/s in {sheet.product_type(precision)}"
    room = f"{gib(sheet.memory)} GiB of a device"
    if sheet.platform == "gpu":
        used, share = gib(machine.share * sheet.memory), percent(machine.share, 0)
        of = f"; {SHARE_VARIABLES[0]}={LARGER_SHARE:g} takes more" if machine.share == JAX_SHARE else ""
        room = f"{used} GiB, the {share} of one {name} that JAX takes{of}"
    memory = f"memory is counted from shapes, with a trunk beside its branch, against {room}"
    if machine.mfu is not None:
        speed = f"the speed is what you typed: {percent(machine.mfu, 1)} of the {promise} of one {name}"
        return [memory, f"{speed}; data loading, checkpoints and compilation are assumed"]
    rungs = [name for name in dict.fromkeys(s.rung for s in specs) if name not in machine.measured]
    measured = f"the speed of {', '.join(machine.measured)} is what its runs here logged on such devices"
    if not rungs:
        return [memory, measured]
    others = f"{measured}; that of {', '.join(rungs)}" if machine.measured else "the speed"
    link = f", for other devices ({sheet.link / 1e9:g} GB/s)" if machine.mesh.n_devices > 1 else ""
    return [
        memory,
        f"{others} is assumed, not measured: a step multiplies matrices at {percent(PRODUCT_SHARE, 0)} of "
        f"the {promise} that the data sheet of one {name} promises, and waits for its memory "
        f"({sheet.bandwidth / 1e12:g} TB/s){link} and {1e3 * LAYER_SECONDS[sheet.platform]:g} ms a layer for "
        "work to start; loading data, checkpoints and the network between machines are left out",
        f"MFU is the share of the promise that remains; {program_name('harness.bench')} on such a device "
        "measures it, "
        "and plan.mfu=0.3 plans with the measured share",
    ]


def time_words(seconds: float, machine: Machine) -> str:
    """Return time, device-hours and cost."""
    if not given(seconds):
        return f"for a time unknown on {machine.devices}, as this machine was not measured"
    hours, price = machine.hours(seconds), machine.price_per_hour
    words = f"about {duration(seconds)} on {machine.devices}, {hours:,.3g} device-hours"
    return words if price is None else f"{words}, cost {hours * price:,.2f}"
