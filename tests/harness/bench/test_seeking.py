"""The benchmark of reaching a step: it finds the beginnings of epochs, and refuses what it cannot measure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.bench.seeking import SOURCES, main, mixture, new_epochs
from harness.data.tokens.mixture import MixtureOrder


def test_steps_of_new_epochs_are_the_first_that_read_one() -> None:
    order = MixtureOrder(mixture(3, 4), 4, 16, 0)
    for source, (size, _) in enumerate(list(SOURCES.values())[:3]):
        for epoch, step in enumerate(new_epochs(order, source, 2), 1):
            before, after = (order.interleaving.before(at * 16)[source] for at in (step, step + 1))
            assert before <= epoch * size < after


def test_figures_are_printed_and_wrong_numbers_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "figures.json"
    given = ["--sources", "2", "--seq-len", "8", "--batch-size", "4", "--seeks", "2", "--json", str(out)]
    assert main(given) == 0
    found = json.loads(capsys.readouterr().out)
    written = json.loads(out.read_text())
    assert (written.pop("schema"), set(written.pop("provenance")) >= {"machine"}) == (1, True)
    assert written == found
    assert set(found["cpu_milliseconds"]["new_epoch_of"]) == {"long", "odd"} == set(found["windows"])
    assert found["cpu_milliseconds"]["within_an_epoch"]["largest"] > 0
    assert main(["--sources", "9"]) == 2
    assert capsys.readouterr().err == "error: sources is 9, expected 1 to 8 (--sources)\n"
