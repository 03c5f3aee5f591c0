"""Pages of the web in web archives and in files of their own, as they stand there.

Archives hold what servers answered (.warc), or text that was extracted before (.wet). Requests and other
records beside the answers are passed over.

References: ISO 28500, "The WARC file format".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.data.text.corpora import SourceFile
from harness.data.text.document import Document, Unusable
from harness.data.text.parse import LONGEST_RECORD, TOO_LONG, Record
from harness.data.text.read import decompressed, whole_file

ARCHIVES = (".warc", ".warc.gz", ".wet", ".wet.gz")
PAGE_SUFFIXES = (*ARCHIVES, ".html", ".htm")
HTML = ("text/html", "application/xhtml+xml")


def read_pages(file: SourceFile) -> Iterator[tuple[Record, dict[str, Any]]]:
    """Yield each page of a file, or why a record holds none, with what is known about it.

    That is its address under `url`, and under `plain` whether it is text without any HTML.

    Raises:
        InputError: the file is damaged, cut short, or cannot be opened.
    """
    with whole_file(file), decompressed(file) as source:
        if file.name.lower().endswith(ARCHIVES):
            yield from _archived(file.name, source)
            return
        name, page = f"{file.name}:1", source.read(LONGEST_RECORD + 1)
        yield Unusable(name, TOO_LONG) if len(page) > LONGEST_RECORD else Document(name, _decoded(page)), {}


def _archived(file: str, source: Any) -> Iterator[tuple[Record, dict[str, Any]]]:
    """Yield the pages of an archive."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    wanted = (WarcRecordType.response, WarcRecordType.resource, WarcRecordType.conversion)
    for number, record in enumerate(ArchiveIterator(source, parse_http=False), 1):
        name = f"{file}:{number}"
        # The library itself takes the rest of a file that is cut short for a whole record.
        if record.headers.get("Content-Length") is None:
            raise EOFError(f"record {number} has no length")
        is_read = record.record_type in wanted and record.content_length <= LONGEST_RECORD
        block = record.reader.read() if is_read else b""
        if (len(block) if is_read else record.consume()) < record.content_length:
            raise EOFError(f"record {number} is cut short")
        if record.record_type not in wanted:
            continue
        known: dict[str, Any] = {"url": record.headers.get("WARC-Target-URI")}
        # What the crawler found in the page goes before what the server told.
        found = record.headers.get("WARC-Identified-Payload-Type")
        kind = _kind(found or record.headers.get("Content-Type"))
        if not is_read:
            yield Unusable(name, TOO_LONG), known
        elif record.record_type == WarcRecordType.response:
            yield _answer(name, block, found), known
        elif kind == "text/plain":
            yield Document(name, _decoded(block, "utf-8")), known | {"plain": True}
        else:
            yield Document(name, _decoded(block)) if kind in HTML else Unusable(name, "no HTML"), known


def _answer(name: str, block: bytes, found: str | None) -> Record:
    """Return the page in the answer of a server; `found` is the media type that the crawler found, if any."""
    from fastwarc.warc import WarcRecord, WarcRecordType

    # In a record of its own: after a damaged answer the library cannot read on in the archive.
    answer = WarcRecord()
    answer.init_headers(WarcRecordType.response)
    answer.is_http = True
    answer.set_bytes_content(block)
    try:
        answer.parse_http(auto_decode="all")
        page = answer.reader.read()
    except OSError:
        return Unusable(name, "damaged answer")
    status = answer.http_headers.status_code
    if status != 200:
        return Unusable(name, "no answer of HTTP" if status is None else f"status {status}")
    if _kind(found or answer.http_content_type) not in HTML:
        return Unusable(name, "no HTML")
    if len(page) > LONGEST_RECORD:  # An answer may be packed a thousandfold.
        return Unusable(name, TOO_LONG)
    return Document(name, _decoded(page, answer.http_charset))


def _kind(told: str | None) -> str:
    """Return the media type in a header."""
    return (told or "").partition(";")[0].strip().lower()


def _decoded(page: bytes, charset: str | None = None) -> str:
    """Return the text of bytes, by the charset that the server told, else that of the page, else a guess."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    def guess() -> str:
        return detect_encoding(page, from_html_meta=True) or "utf-8"

    try:
        return str(bytes_to_str(page, charset or guess()))
    except LookupError:  # The server told a charset that nobody knows.
        return str(bytes_to_str(page, guess()))
