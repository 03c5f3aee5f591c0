"""Record of imported runs: which files they came from, and how losses, sizes and tokens were read."""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA = 1


@dataclass(frozen=True)
class SourceFile:
    """A file that was read.

    Attributes:
        path: its path as it was given.
        bytes: its size.
        sha256: hash of its content.
    """

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ImportedRun:
    """One run.

    Attributes:
        run: its name.
        format: what it was read from, such as `W&B chart`.
        state: how it ended, in the word of its tracker; empty if unknown.
        n: parameters.
        n_from: where they come from, in words.
        tokens_from: where its tokens come from, in words.
        n_rows: logged losses.
        last_step: step of the last of them; tokens if the axis counts tokens.
        replaced: losses that a restart logged again; the later ones are kept.
        averaged: whether rows are means over several steps or runs, as W&B exports them.
    """

    run: str
    format: str
    state: str
    n: float
    n_from: str
    tokens_from: str
    n_rows: int
    last_step: float
    replaced: int = 0
    averaged: bool = False


@dataclass(frozen=True)
class LeftOut:
    """A run that is in no table.

    Attributes:
        run: its name.
        reason: why, in words.
    """

    run: str
    reason: str


@dataclass(frozen=True)
class ImportRecord:
    """How the tables of imported runs were made.

    Attributes:
        schema: number of this layout.
        command: what was typed.
        loss: metric that was taken as the loss.
        loss_unit: unit in which it was logged; the tables hold nats per token.
        loss_of: `evaluation`, `training` or `unknown` data.
        end_share: share of the last steps over which the loss of an end point is averaged; 0 takes the last.
        lr: metric that was taken as the learning rate; None without one.
        tokens: metric that counts tokens; None if they come from steps or the axis.
        files: the files that were read.
        runs: the runs in the tables.
        left_out: the others.
    """

    schema: int
    command: str
    loss: str
    loss_unit: str
    loss_of: str
    end_share: float
    lr: str | None
    tokens: str | None
    files: tuple[SourceFile, ...]
    runs: tuple[ImportedRun, ...]
    left_out: tuple[LeftOut, ...] = ()
