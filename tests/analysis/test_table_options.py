"""Options of commands on tables: pairs of names, which may hold any sign in quotes."""

from __future__ import annotations

import pytest

from analysis.table_options import parse_pairs
from harness.records.errors import InputError


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        (None, {}),
        ("", {}),
        ("N=params,D=tokens", {"N": "params", "D": "tokens"}),
        (" N = params , D= tokens ", {"N": "params", "D": "tokens"}),
        ('N="tokens, B",D=d', {"N": "tokens, B", "D": "d"}),
        ("N='tokens, B' , D=d", {"N": "tokens, B", "D": "d"}),
        ('N="a ""quoted"" name"', {"N": 'a "quoted" name'}),
        ("N=it's,D=o'clock", {"N": "it's", "D": "o'clock"}),
        ('N=5" disk,D=d', {"N": '5" disk', "D": "d"}),
        ('"a=b, c"=1,x=2', {"a=b, c": "1", "x": "2"}),
        ("loss=a=b", {"loss": "a=b"}),
        ("N=a|b", {"N": "a|b"}),
        ("C=,status=", {"C": "", "status": ""}),
        ("N=params,", {"N": "params"}),
        ("x=größe (M)", {"x": "größe (M)"}),
    ],
)
def test_pairs(text: str | None, pairs: dict[str, str]) -> None:
    assert parse_pairs(text, "--map", "N=COLUMN") == pairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("N", "--map has 'N' without '=': type it as N=COLUMN, with quotes around a name that has a comma"),
        ("N=tokens, B", "--map has ' B' without '='"),
        ("N=a,N=b", "--map has 'N' twice"),
        (",", "--map has '' without '='"),
    ],
)
def test_wrong_pairs(text: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_pairs(text, "--map", "N=COLUMN")
    assert message in str(raised.value)
