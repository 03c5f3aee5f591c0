"""Forecasts of curves as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.records.curves import Alarm, Basis, CurvesRecord, EndForecast, ShareScore
from harness.records.number_text import percent

HEAD = ("run", "trained", "loss now", "ends at", "interval", "from")
FROM = {Basis.RUNS: "other runs", Basis.LAW: "law", Basis.MEASURED: "measured", None: ""}
SHOWN = 40  # rows of a table


def interval_text(forecast: EndForecast) -> str:
    """Return the interval of a forecast, or nothing."""
    return f"[{forecast.interval[0]:.3f}, {forecast.interval[1]:.3f}]" if forecast.interval else ""


def ends_at(forecast: EndForecast) -> str:
    """Return where a run ends with half its interval, such as `2.187 ± 0.038`; empty if unknown."""
    if forecast.loss is None or forecast.interval is None:
        return ""
    return f"{forecast.loss:.3f} ± {(forecast.interval[1] - forecast.interval[0]) / 2:.3f}"


def alarm_text(alarm: Alarm, name: str | None = None) -> str:
    """Return an alarm as one sentence."""
    side = "above" if alarm.distance > 0 else "below"
    off = 100 * abs(alarm.loss / alarm.expected - 1)
    return (
        f"alarm: {name or alarm.run} left its band at step {alarm.step:g}: loss {alarm.loss:.3f}, expected "
        f"{alarm.expected:.3f}, {off:.1f} % ({abs(alarm.distance):.1f} standard deviations) {side}"
    )


def score_line(score: ShareScore) -> str:
    """Return one line on the forecasts made from a share of training."""
    now, rms = f"{score.rms_percent_now:.1f} %", f"{score.rms_percent:.2f} % RMS"
    inside, half = f"{percent(score.inside_share, 0)}", f"± {score.half_width_percent:.1f} %"
    return (
        f"from the first {percent(score.share, 0)} of training: {score.n_ends} ends, off by {rms} (the loss "
        f"at that moment by {now}), {inside} inside {percent(score.level, 0)} intervals of {half}"
    )


def curves_text(record: CurvesRecord, labels: Mapping[str, str]) -> str:
    """Return all forecasts as a table, then alarms and scores.

    Args:
        record: the forecasts.
        labels: what to call a run, by its name.
    """
    ahead = [each for each in record.ends if each.basis is not Basis.MEASURED]
    reached = len(record.ends) - len(ahead)
    lines = [f"ends reached: {reached}, ahead: {len(ahead)}"]
    lines += _table([_row(each, labels) for each in ahead[:SHOWN]]) if ahead else []
    lines += [f"and {len(ahead) - SHOWN} more"] if len(ahead) > SHOWN else []
    lines += [alarm_text(alarm, labels.get(alarm.run)) for alarm in record.alarms]
    return "\n".join([*lines, *map(score_line, record.scores)])


def _row(forecast: EndForecast, labels: Mapping[str, str]) -> tuple[str, ...]:
    if forecast.loss is None:
        ends, interval, origin = forecast.note, "", ""
    else:
        ends, interval = f"{forecast.loss:.3f}", interval_text(forecast)
        origin = FROM[forecast.basis]
    now = "" if forecast.now is None else f"{forecast.now:.3f}"
    trained = f"{forecast.step:g} of {forecast.last_step:g}"
    return labels.get(forecast.run, forecast.run), trained, now, ends, interval, origin


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in (HEAD, *rows)) for column in range(len(HEAD))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (HEAD, *rows)
    ]
