"""The committed replications: their study made anew, and README's words about them."""

from __future__ import annotations

from analysis.records.replications import read_replications_record
from analysis.replications.study import study_replications
from analysis.replications.text import lead
from tests import ROOT

FOLDER = ROOT / "results/replications/chinchilla"


def test_the_committed_study_is_that_of_the_committed_tables() -> None:
    stored = read_replications_record(FOLDER / "replications.json")
    made = study_replications(FOLDER, fixed=stored.n_fixed)
    assert [each.name for each in made.replications] == [each.name for each in stored.replications]
    for ours, theirs in zip(made.parts, stored.parts, strict=True):
        assert ours.held_out[0].coverage == theirs.held_out[0].coverage
        assert abs(ours.held_out[0].rms_percent.median - theirs.held_out[0].rms_percent.median) < 1e-6


def test_readme_quotes_the_committed_study() -> None:
    text = (ROOT / "README.md").read_text()
    quoted = text.split("<!-- replications: begin -->")[1].split("<!-- replications: end -->")[0].split()
    losses = lead(read_replications_record(FOLDER / "replications.json"))[:2]
    assert quoted == " ".join(losses).split()
