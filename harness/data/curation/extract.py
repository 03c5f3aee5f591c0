"""Text of web pages, without menus, notices and other parts around it.

References: Bevendorff et al. 2018, "Elastic ChatNoir" (Resiliparse); Li et al., arXiv:2406.11794, section 4.2
(it keeps as much as trafilatura, at eight times the speed).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from datatrove.pipeline.extractors.base import ExtractorSandbox

from harness.data.curation.count import Document, Dropped


class Sandbox(ExtractorSandbox):  # type: ignore[misc, unused-ignore]
    """datatrove's process for a function of a text, which ends with the process that started it."""

    def _worker(self, conn: Any, extract_fn: Callable[[str], str]) -> None:
        """Serve texts until the other end of the pipe is closed, of which a fork has a copy."""
        self.parent_conn.close()
        super()._worker(conn, extract_fn)


@dataclass(frozen=True)
class Extract:
    """Put the text of a page in place of its HTML; drop a page without one. Plain text stays as it is.

    Attributes:
        dropped: gets what is dropped.
        main_content: whether parts around the text are left out.
        timeout: seconds after which a page is dropped: one of 100,000 nested elements takes minutes.
    """

    dropped: Dropped
    main_content: bool = True
    timeout: float = 20.0

    def __call__(
        self,
        data: Iterable[Document],
        rank: int = 0,
        world_size: int = 1,  # noqa: ARG002
    ) -> Iterator[Document]:
        """Yield the documents of one task that have a text."""
        # In a process of its own, because neither time nor a crash of the library can be caught in this one.
        with self.dropped as dropped, Sandbox(self.timeout) as sandbox:
            for document in data:
                if document.metadata.get("plain"):
                    yield document
                    continue
                try:
                    text, reason = sandbox.process_document(document.text, self._text), "no text"
                except TimeoutError:
                    text, reason = "", f"longer than {self.timeout:g} s"
                except EOFError:
                    text, reason = "", "crash"
                if text:
                    document.text = text
                    yield document
                else:
                    document.metadata["filter_reason"] = reason
                    dropped.write(document, rank)

    def _text(self, page: str) -> str:
        """Return the text of a page."""
        from resiliparse.extract.html2text import extract_plain_text

        return str(extract_plain_text(page, main_content=self.main_content, alt_texts=False)).strip()
