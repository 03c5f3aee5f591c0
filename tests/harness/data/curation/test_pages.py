"""Pages of the web: what is read from archives, with encodings and damages, and the text in them."""

from __future__ import annotations

import gzip
import importlib.util
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from harness.data.curation.count import Dropped
from harness.data.curation.pages import read_pages
from harness.data.text.corpora import SourceFile
from harness.data.text.document import Document
from harness.records.errors import InputError
from tests import ROOT

needs_resiliparse = pytest.mark.skipif(
    importlib.util.find_spec("resiliparse") is None, reason="needs the extra curate: uv sync --extra curate"
)
needs_datatrove = pytest.mark.skipif(
    importlib.util.find_spec("datatrove") is None, reason="needs the extra curate: uv sync --extra curate"
)
ANSWER = "application/http; msgtype=response"


def record(kind: str, url: str, block: bytes, media_type: str = ANSWER, more: str = "") -> bytes:
    """A record of a web archive."""
    head = (
        f"WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{zlib.crc32(url.encode())}>\r\n"
        f"WARC-Target-URI: {url}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\nContent-Type: {media_type}\r\n"
        f"{more}Content-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def answer(page: bytes, media_type: str = "text/html", status: str = "200 OK", more: str = "") -> bytes:
    """What a server sends."""
    return f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\n{more}\r\n".encode() + page


def written(folder: Path, name: str, data: bytes) -> SourceFile:
    (folder / name).write_bytes(data)
    return SourceFile(name, str(folder / name), len(data), 0)


def read(folder: Path, data: bytes, name: str = "a.warc") -> list[tuple[str, str | None]]:
    """Text or reason, and address, of each record."""
    found = read_pages(written(folder, name, data))
    return [
        (each.text if isinstance(each, Document) else f"! {each.reason}", known.get("url"))
        for each, known in found
    ]


BESIDE = [
    record("warcinfo", "about", b"software: test"),
    record("request", "http://a/", b"GET / HTTP/1.1\r\n\r\n", "application/http; msgtype=request"),
    record("metadata", "http://a/", b"fetchTimeMs: 1", "application/warc-fields"),
]
PAGE = "<p>Grüße</p>".encode()
RECORDS: dict[str, tuple[bytes, str]] = {
    "plain": (answer(PAGE, "text/html; charset=utf-8"), "<p>Grüße</p>"),
    "told charset": (answer("<p>Grüße".encode("latin1"), "text/html; charset=ISO-8859-1"), "<p>Grüße"),
    "unknown charset": (answer(PAGE, "text/html; charset=x-none"), "<p>Grüße</p>"),
    "charset of the page": (
        answer('<meta charset="shift_jis"><p>日本'.encode("shift_jis")),
        '<meta charset="shift_jis"><p>日本',
    ),
    "gzip": (answer(gzip.compress(PAGE), more="Content-Encoding: gzip\r\n"), "<p>Grüße</p>"),
    "chunked": (
        answer(b"3\r\n<p>\r\n2\r\nab\r\n0\r\n\r\n", more="Transfer-Encoding: chunked\r\n"),
        "<p>ab",
    ),
    "damaged": (answer(PAGE, more="Content-Encoding: gzip\r\n"), "! damaged answer"),
    "missing": (answer(PAGE, status="404 Not Found"), "! status 404"),
    "image": (answer(b"\x89PNG", "image/png"), "! no HTML"),
    "no type": (answer(PAGE, ""), "! no HTML"),
    "no HTTP": (b"<p>a page", "! no answer of HTTP"),
    "empty": (b"", "! no answer of HTTP"),
}


@needs_resiliparse
@pytest.mark.parametrize("suffix", [".warc", ".warc.gz"])
def test_answers_are_decoded_or_named(suffix: str, tmp_path: Path) -> None:
    records = [*BESIDE, *(record("response", f"http://{i}/", r[0]) for i, r in enumerate(RECORDS.values()))]
    packed = [gzip.compress(each) for each in records] if suffix.endswith("gz") else records
    found = read(tmp_path, b"".join(packed), f"a{suffix}")
    assert found == [(text, f"http://{i}/") for i, (_, text) in enumerate(RECORDS.values())]


@needs_resiliparse
def test_what_the_crawler_found_goes_before_what_the_server_told(tmp_path: Path) -> None:
    told = "WARC-Identified-Payload-Type: {}\r\n".format
    data = record("response", "http://a/", answer(PAGE, "text/plain"), more=told("text/html"))
    data += record("response", "http://b/", answer(PAGE), more=told("application/pdf"))
    assert [text for text, _ in read(tmp_path, data)] == ["<p>Grüße</p>", "! no HTML"]


@needs_resiliparse
def test_text_and_pages_without_a_server_are_read(tmp_path: Path) -> None:
    data = record("conversion", "http://a/", "Text, früher".encode(), "text/plain")
    data += record("resource", "file:///b", PAGE, "text/html") + record("resource", "file:///c", b"-", "a/b")
    found = list(read_pages(written(tmp_path, "a.warc.wet.gz", gzip.compress(data))))
    texts = [getattr(each, "text", "") for each, _ in found]
    assert texts == ["Text, früher", "<p>Grüße</p>", ""]
    assert [known.get("plain", False) for _, known in found] == [True, False, False]
    assert [each.name for each, _ in found] == [f"a.warc.wet.gz:{number}" for number in (1, 2, 3)]
    assert read(tmp_path, b"\xef\xbb\xbf" + PAGE, "page.HTML") == [("<p>Grüße</p>", None)]


@needs_resiliparse
def test_a_page_that_is_too_long_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.data.curation.pages.LONGEST_RECORD", 500)
    packed = answer(gzip.compress(b"<p>" + bytes(2000)), more="Content-Encoding: gzip\r\n")
    pages = [answer(b"x" * 600), packed, answer(PAGE)]
    data = b"".join(record("response", f"http://{i}/", each) for i, each in enumerate(pages))
    too_long = "! longer than 67,108,864 characters"
    assert [text for text, _ in read(tmp_path, data)] == [too_long, too_long, "<p>Grüße</p>"]
    assert read(tmp_path, b"x" * 600, "a.html") == [(too_long, None)]


WHOLE = record("response", "http://a/", answer(PAGE)) + record("response", "http://b/", answer(PAGE))
DAMAGED: dict[str, Callable[[], bytes]] = {
    "cut.warc": lambda: WHOLE[:-10],
    "cut_in_head.warc": lambda: WHOLE + BESIDE[0][:20],
    "cut_beside.warc": lambda: WHOLE + BESIDE[1][:-10],
    "cut.warc.gz": lambda: gzip.compress(WHOLE)[:-30],
    "no.warc": lambda: b"no archive\n" * 9,
    "between.warc": lambda: WHOLE + b"xx\r\n" + WHOLE,
}


@needs_resiliparse
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_archive_is_one_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{name} cannot be read \(.*repair or remove it$"):
        read(tmp_path, DAMAGED[name](), name)


ARTICLE = "".join(f"<p>Paragraph {i} says more than a menu does, and ends here.</p>" for i in range(5))
SITE = "<html><body><nav><a href=1>Home</a></nav><main>{}</main><footer>Imprint</footer><script>x</script>"


@needs_resiliparse
@needs_datatrove
def test_text_is_extracted_without_what_stands_around_it() -> None:
    from harness.data.curation.extract import Extract

    text = "\n\n".join(f"Paragraph {i} says more than a menu does, and ends here." for i in range(5))
    assert Extract(Dropped("", "extract"))._text(SITE.format(ARTICLE)) == text
    everything = Extract(Dropped("", "extract"), main_content=False)._text(SITE.format(ARTICLE))
    assert everything.startswith("Home")
    assert everything.endswith("Imprint")
    assert Extract(Dropped("", "extract"))._text("<html><script>only</script>") == ""


ENDLESS = """
import itertools
from types import SimpleNamespace as Text
from harness.data.curation.count import Dropped
from harness.data.curation.extract import Extract
pages = (Text(text="<p>a text", metadata={}, id="") for _ in itertools.count())
for number, page in enumerate(Extract(Dropped("", "extract"))(pages)):
    if number == 1:
        print(page.text, flush=True)
"""


@needs_resiliparse
@needs_datatrove
def test_a_killed_step_leaves_no_process_behind() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "a text\n"
        (extractor,) = psutil.Process(process.pid).children()
        process.kill()
    extractor.wait(timeout=30)
