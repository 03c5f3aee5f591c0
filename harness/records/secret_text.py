"""Secrets in text: what looks like one is not written into a record, which people commit and send around."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "***"
# `name=value` or `name: value` whose name says so. `n_tokens` and `key_shift` do not end in these words. All
# repetitions are bounded, so that no text makes the search slow.
NAMED = re.compile(
    r"(?i)(?<![A-Za-z0-9])((?:(?:api|access|secret|private)?key"
    r"|[A-Za-z0-9]{0,32}?(?:token|password|passwd|passphrase|secret|credentials?))"
    r"[\"']?\s{0,2}[=:]\s{0,2})(\"[^\"]{1,999}\"|'[^']{1,999}'|[^\s,;&\"'\]})]+)"
)
# Forms of keys that the large providers give out, and a password in an address.
FORMS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{8,}|sk-[A-Za-z0-9_-]{8,}|(?:AKIA|ASIA)[0-9A-Z]{8,}|gh[opsu]_[A-Za-z0-9]{8,}"
    r"|github_pat_\w{8,}|glpat-[\w-]{8,}|xox[abprs]-[\w-]{8,}|AIza[\w-]{20,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)|(?<=://)[^/\s:@]{1,99}:[^/\s@]{1,99}(?=@)"
)


def redacted(text: str) -> str:
    """Return a text with *** in place of what looks like a secret.

    >>> redacted("+launcher.sbatch.export=ALL,WANDB_API_KEY=abc"), redacted("grid.n_tokens=[4096]")
    ('+launcher.sbatch.export=ALL,WANDB_API_KEY=***', 'grid.n_tokens=[4096]')
    """
    return FORMS.sub(HIDDEN, NAMED.sub(rf"\1{HIDDEN}", text))


def redacted_values(value: Any, name: str = "") -> Any:
    """Return nested dicts and lists with every text redacted, by its own look and by its key."""
    if isinstance(value, dict):
        return {key: redacted_values(entry, str(key)) for key, entry in value.items()}
    if isinstance(value, list):
        return [redacted_values(entry, name) for entry in value]
    if isinstance(value, str):
        return redacted(f"{name}={value}").removeprefix(f"{name}=")
    return value
