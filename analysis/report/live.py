"""The script of a live report: vendored Vega, our own files and the data, under a strict content policy.

A page may run the scripts whose hashes its policy names, nothing else: no network, no `eval`, no handler in
an attribute. Vega's expressions are therefore interpreted.

References: Content Security Policy Level 3, https://www.w3.org/TR/CSP3/.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markupsafe import Markup

from analysis.explorer.page import Explored

HERE = Path(__file__).parent
VENDORED = HERE / "vendored"
OWN = (
    "format.js",
    "answers.js",
    "surface.js",
    "views.js",
    "legend.js",
    "zoom.js",
    "select.js",
    "curves.js",
    "sections.js",
    "several.js",
    "budget.js",
    "page.js",
    "boxes.js",
    "tables.js",
)  # in the order of the page
# The interpreter is published as a module; these two lines tie it to the global of vega.min.js.
IMPORT = "import { ascending, isString, DisallowedObjectProperties } from 'vega-util';"
EXPORT = "export { expression as expressionInterpreter };"
POLICY = (
    "default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True)
class LivePage:
    """What the template adds for a live page.

    Attributes:
        laws, left_out, units, counts, level: as in `Explored`.
        charts: whether it has live figures.
        several: whether it shows several sweeps.
        policy: value of the meta element Content-Security-Policy.
        scripts: elements for the place after the first figure and the controls.
    """

    laws: tuple[str, ...]
    left_out: dict[str, tuple[str, ...]]
    units: dict[str, str]
    counts: tuple[str, ...]
    level: float | None
    charts: bool
    several: bool
    policy: str
    scripts: Markup


def live_page(found: Explored) -> LivePage:
    """Return the parts of a page that make it live."""
    # Pages without charts sort and save their tables; they need no Vega.
    texts = programs() if found.data["charts"] else programs()[-1:]
    hashes = " ".join(script_hash(text.encode()) for text in texts)
    # Inside a script element only "<" could end it or begin a comment.
    content = json.dumps(found.data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    elements = [f'<script type="application/json" id="live-data">{content}</script>']
    elements += [f"<script>{text}</script>" for text in texts]
    return LivePage(
        found.laws,
        dict(found.left_out),
        dict(found.units),
        found.counts,
        found.level,
        bool(found.data["charts"]),
        found.data["several"] is not None,
        POLICY.format(hashes=hashes),
        Markup("\n".join(elements)),
    )


@cache
def programs() -> tuple[str, str, str]:
    """Return the text of the scripts: Vega with its licences, the interpreter, and our own files as one."""
    licences = (VENDORED / "LICENCES.txt").read_text()
    vega = f"/*!\n{licences}*/\n{(VENDORED / 'vega.min.js').read_text()}"
    module = (VENDORED / "vega-interpreter.js").read_text()
    head, body = module.split(IMPORT)
    body, _source_map = body.split(EXPORT)
    names = IMPORT[len("import ") : IMPORT.index(" from")]
    tied = f"const {names} = vega;\n{head}{body}vega.expressionInterpreter = expression;\n"
    interpreter = f"(() => {{\n{tied}}})();\n"
    parts = [_lean((HERE / "script" / name).read_text()) for name in OWN]
    data = 'const data = JSON.parse(document.getElementById("live-data").textContent);\n'
    own = '(() => {\n"use strict";\n' + data + "\n".join(parts) + "})();\n"
    return vega, interpreter, own


def _lean(script: str) -> str:
    """Return a script of ours without indentation and lines of comment; no text in it spans lines."""
    lines = (line.strip() for line in script.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//")) + "\n"


def script_hash(content: bytes) -> str:
    """Return the source expression of a policy that lets a script with this very content run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
