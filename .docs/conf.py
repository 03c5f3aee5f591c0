"""Sphinx on the pages of pages.py: `sphinx-build -EW .docs .docs/html`."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import inspect

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import pages  # noqa: E402

import analysis  # noqa: E402
import harness  # noqa: E402

project = "Scaling-law harness"
author = "its contributors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
exclude_patterns = ["html", "jupyter_execute"]  # what a build leaves
html_theme = "furo"
html_title = project
html_static_path = html_css_files = ["style.css"]
html_copy_source = html_show_sourcelink = False
html_show_copyright = False

# Notebooks carry outputs; notebooks/refresh.py makes them and tests/test_notebooks.py says if they are stale.
nb_execution_mode = "off"
myst_heading_anchors = 4
# Pages lie side by side, so one relative address leads to copies from all of them.
myst_url_schemes = {"http": None, "https": None, "copy": {"url": "copies/{{path}}"}}

default_role = "code"
highlight_language = "text"
autodoc_typehints = "signature"
autodoc_type_aliases = {"Array": "Array"}
inspect.TypeAliasForwardRef.__repr__ = lambda alias: alias.name  # type: ignore[method-assign]  # in `Array | None`
autodoc_member_order = "bysource"
autosummary_generate = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_preprocess_types = False

SHOWN = [getattr(analysis, name) for name in analysis.__all__]
WRITTEN = pages.Pages()
WRITTEN.texts["api-analysis.md"] = pages.api(analysis, analysis.__all__)
WRITTEN.texts["api-harness.md"] = pages.api(harness, harness.__all__, SHOWN)
WRITTEN.write(HERE)


def copy_linked(app: Sphinx, exception: Exception | None) -> None:
    """Copy what pages link to, such as reports, beside the pages."""
    for file in WRITTEN.copied if exception is None else ():
        target = Path(app.outdir) / "copies" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE.parent / file, target)


def readable(*shown: Any) -> tuple[str | None, str | None]:
    """Return the signature of a public name as a reader would write it.

    The class of a JAX module hides that of its `__init__`; a dataclass shows defaults such as `<factory>`.
    """
    _, _, _, value, _, signature, returned = shown
    if signature == "(*args: Any, **kwargs: Any)":
        signature = inspect.stringify_signature(
            inspect.signature(value.__init__, bound_method=True), unqualified_typehints=True
        )
    return signature and re.sub(r"<[^<>]*>", "...", signature), returned


def setup(app: Sphinx) -> None:
    """Register both functions."""
    app.connect("autodoc-process-signature", readable)
    app.connect("build-finished", copy_linked)
