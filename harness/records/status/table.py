"""The table of a sweep's runs in words, as the terminal and the page of a running sweep show it."""

from __future__ import annotations

from harness.records.number_text import duration
from harness.records.status.rows import RowStatus, RunRow

RIGHT = ("seed", "points", "trained", "loss", "tokens/s", "MFU", "attempts")
ENDS_AT = "ends at, 90 %"  # the last end of a run, forecast from its curve so far
COLUMNS = (
    "run", "rung", "seed", "status", "points", "trained", "loss", ENDS_AT, "tokens/s", "MFU", "left",
    "attempts", "last error",
)  # fmt: skip


def row_texts(row: RunRow, ends_at: str) -> dict[str, str]:
    """Return the texts of one row by column.

    Args:
        row: the run.
        ends_at: where it ends by its curve so far; empty if nothing can be said.
    """
    state, is_running, left = row.state, row.status == RowStatus.RUNNING, row.seconds_left
    trained, speed = state.tokens_trained or 0, state.tokens_per_second
    texts = (
        row.run_id,
        row.cells[0].rung,
        str(row.cells[0].seed),
        row.status.value,
        f"{row.n_finished}/{len(row.cells)}",
        f"{trained:,}" if trained else "",
        f"{state.loss:.3f}" if state.loss is not None else "",
        ends_at,
        f"{speed:,.0f}" if is_running and speed else "",
        f"{state.mfu:.0%}" if is_running and state.mfu is not None else "",
        "" if left is None else duration(left),
        "" if state.status is None else str(state.retries + 1),
        state.error or "",
    )
    return dict(zip(COLUMNS, texts, strict=True))
