"""Tables in plain text: whatever spreadsheets, shells and notebooks write gives the same columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.tables.frames import read_frame
from harness.records.errors import InputError
from tests import ROOT

CLEAN = pd.read_csv(ROOT / "tests/stored/tables/clean.csv")
PLAIN = CLEAN.to_csv(index=False)


def german(frame: pd.DataFrame) -> str:
    """A spreadsheet's export with a decimal comma and groups of three."""
    lines = [
        f"{row.N:,.0f};{row.D:,.0f};".replace(",", ".") + f"{row.loss}".replace(".", ",")
        for row in frame.itertuples()
    ]
    return "\n".join(["N;D;loss", *lines])


DIALECTS = {
    "plain": PLAIN,
    "semicolons": PLAIN.replace(",", ";"),
    "tabs": PLAIN.replace(",", "\t"),
    "blanks": PLAIN.replace(",", " "),
    "several blanks": "  " + PLAIN.replace(",", "    ").replace("\n", "\n  "),
    "blanks and tabs": PLAIN.replace(",", " \t "),
    "a blank after the comma": PLAIN.replace(",", ", "),
    "a blank before the comma": PLAIN.replace(",", " ,"),
    "quotes": CLEAN.to_csv(index=False, quoting=1),
    "quotes after blanks": CLEAN.to_csv(index=False, quoting=1).replace(",", ", "),
    "comment first": "# exported by hand\n#, at night\n\n" + PLAIN,
    "comments between": PLAIN.replace("\n2", "\n# note, with a comma\n2", 2),
    "names in a comment": "# N D loss\n" + PLAIN.split("\n", 1)[1].replace(",", " "),
    "declared separator": "sep=;\n" + PLAIN.replace(",", ";"),
    "Windows lines": PLAIN.replace("\n", "\r\n"),
    "old Mac lines": PLAIN.replace("\n", "\r"),
    "separator at each end": PLAIN.replace("\n", ",\n"),
    "separator at each end below": PLAIN.replace("\n", ",\n").replace("loss,", "loss"),
    "an index": CLEAN.to_csv(),
    "an index from 1": CLEAN.set_axis(CLEAN.index + 1).to_csv(),
    "row names as R writes them": CLEAN.set_axis([f"r{i}" for i in CLEAN.index]).to_csv(sep=" ").lstrip(),
    "row numbers as R writes them": CLEAN.set_axis(CLEAN.index + 1).to_csv(sep=" ").lstrip(' "'),
    "decimal comma": german(CLEAN),
    "decimal comma, tabs": german(CLEAN).replace(";", "\t"),
    "decimal comma, a name with a comma": german(CLEAN).replace("N;D;loss", "N;D;loss, nats"),
    "groups of digits": "N,D,loss\n" + "\n".join(f'"{r.N:,}","{r.D:,}",{r.loss}' for r in CLEAN.itertuples()),
    "blank lines": PLAIN.replace("\n", "\n\n"),
    "bars": PLAIN.replace(",", "|"),
    "a drawn table": "| N | D | loss |\n|---|:-:|---|\n"
    + "\n".join(f"| {r.N} | {r.D} | {r.loss} |" for r in CLEAN.itertuples()),
    "printed by a database": " N | D | loss\n---+---+------\n" + PLAIN.split("\n", 1)[1].replace(",", " | "),
    "printed by pandas": CLEAN.astype(str).to_string(),
    "signs that nobody sees": "\u200b" + PLAIN.replace("D,", "D\u200e,", 1),
    "a header over two lines": PLAIN.replace("N,D,loss", 'N,D,"loss\nnats"'),
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("suffix", [".csv", ".CSV", ".txt"])
def test_every_dialect_gives_the_same_columns(dialect: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"runs{suffix}"
    path.write_bytes(DIALECTS[dialect].encode())
    frame = read_frame(path)
    assert [str(name)[:4] for name in frame.columns] == ["N", "D", "loss"]
    found = frame.map(lambda cell: float(str(cell).replace(",", "")))
    np.testing.assert_allclose(found.to_numpy(float), CLEAN.to_numpy(float), rtol=1e-15)


def test_names_and_words_keep_their_separators(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text('"tokens, B";run name;loss\n400;run 1, second;3,5\n800;run 2;3,25\n')
    frame = read_frame(path)
    assert frame.columns.tolist() == ["tokens, B", "run name", "loss"]
    assert frame["run name"].tolist() == ["run 1, second", "run 2"]
    assert frame["loss"].tolist() == [3.5, 3.25]


def test_signs_of_comments_inside_a_cell_are_text(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("name,N\nrun#1,5\nrun#2,6\n")
    assert read_frame(path).to_dict("list") == {"name": ["run#1", "run#2"], "N": [5, 6]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("# nothing\n\n", "it is empty"),
        ("1e8,2e9,3.0\n2e8,4e9,2.5\n", r"first line holds numbers \(1e8, 2e9, 3.0\): expected names"),
        ("N,D\n1,2,3\n4,5,6\n", r"line of names has 2 columns and the rows have 3 \(1, 2, 3\)"),
        ("N,D,loss\n1,2,3\n1,2,3,4\n", "line of names has 3 columns and the rows have 4"),
        ('N,D\n1,"2\n', "EOF inside string"),
    ],
)
def test_text_that_is_no_table(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=f"cannot read .*{message}"):
        read_frame(path)


def test_a_long_line_far_below_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("N,D,loss\n" + "1,2,3\n" * 300 + "1,2,3,4\n")
    with pytest.raises(InputError, match="row 300 has 4 columns, and the rows above have 3"):
        read_frame(path)
