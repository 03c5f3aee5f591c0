"""Pages of the documents: every README, notebook and figure of this repository, under links that hold there.

Pages are written beside this file, which git ignores. Sources stay in the folders of the packages. Only the
standard library is used, so that a test can look at the pages without Sphinx.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Collection, Container, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
# Pages by the caption that the sidebar has above them: file, name of the page, title in the sidebar.
SECTIONS: dict[str, list[tuple[str, str, str]]] = {
    "": [("README.md", "index", "Front page")],
    "Packages": [
        ("harness/README.md", "harness", "harness: from a grid to tables"),
        ("harness/data/README.md", "data", "Bring your own data"),
        ("analysis/README.md", "analysis", "analysis: laws, frontiers, forecasts"),
        (".github/CONTRIBUTING.md", "contributing", "How to add a law, a grid, a task, a launcher"),
        (".github/CHANGELOG.md", "changelog", "Changes"),
    ],
    "Tutorials": [],
    "Results": [
        ("results/README.md", "results", "Dictionary of tables and files"),
        ("results/LOG.md", "log", "What was tried"),
    ],
    "Trust": [
        ("tests/INTERVALS.md", "intervals", "How we know that the intervals hold"),
        ("tests/README.md", "tests", "Tests"),
    ],
}
# Pages that are made here, with their title; they follow the sections of the same caption.
MADE = {
    "Packages": [("api-analysis", "import analysis"), ("api-harness", "import harness")],
    "Results": [("gallery", "Gallery of figures")],
}
LINK = re.compile(r"(?<=\]\()(?P<path>[^)\s#:]+)(?P<fragment>#[^)\s]*)?(?=\))")
IMAGES = {".png", ".svg"}
LEXERS = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".json": "json", ".csv": "text"}
LONGEST_SHOWN = 100_000  # bytes of a file that the page of its folder links to
# Files whose name has another word than the function of `sl.figures` that draws them.
DRAWN_BY = {"arms": "multipliers", "forecast": "forecast_against_truth", "profile": "profiles"}


def tutorials() -> list[tuple[str, str, str]]:
    """Return file, page and title of every notebook, in the order of their numbers."""
    return [
        (f"notebooks/{path.name}", path.stem, _heading(_cells(path)[0]))
        for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
    ]


@cache
def pages() -> dict[str, str]:
    """Return the name of the page of every file that has one."""
    listed = [page for section in SECTIONS.values() for page in section]
    return {file: name for file, name, _ in (*listed, *tutorials())}


class Pages:
    """Texts of all pages, and the files that they need.

    Attributes:
        texts: text by the name of its file beside this one.
        copied: files of the repository that pages link to, for a copy beside the pages.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.copied: set[str] = set()
        for file, name in pages().items():
            suffix = Path(file).suffix
            text = (ROOT / file).read_text()
            self.texts[name + suffix] = (
                self._notebook(text, file) if suffix == ".ipynb" else self._markdown(text, file)
            )
        self.texts["index.md"] += _contents()
        self.texts["gallery.md"] = self._gallery()

    def write(self, folder: Path) -> None:
        """Write every page whose text has changed, and remove pages of before."""
        before = [*folder.glob("*.md"), *folder.glob("*.ipynb"), *(folder / "files").rglob("*.md")]
        for path in before:
            if path.relative_to(folder).as_posix() not in self.texts:
                path.unlink()
        for name, text in self.texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text() != text:
                path.write_text(text)

    def _markdown(self, text: str, file: str) -> str:
        """Return Markdown of a file with the links of its page."""
        return LINK.sub(lambda link: self._target(link, file), text)

    def _notebook(self, text: str, file: str) -> str:
        notebook = json.loads(text)
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = self._markdown("".join(cell["source"]), file)
        return json.dumps(notebook)

    def _target(self, link: re.Match[str], file: str) -> str:
        """Return what a link of a file leads to: a page, an image, a copy, or a page that shows the target.

        A link to nothing stays as it is, and Sphinx warns of it.
        """
        path = (ROOT / file).parent / link["path"]
        target = os.path.relpath(path, ROOT)
        if target in pages():
            return pages()[target] + path.suffix + (link["fragment"] or "")
        if path.is_dir():
            return self._folder(target)
        if not path.is_file():
            return link[0]
        if path.suffix in IMAGES:
            return f"../{target}"
        if path.suffix == ".html":
            return self._copy(target)
        return self._file(target)

    def _file(self, file: str) -> str:
        """Return the link to a page that shows a text file."""
        up = "../" * (file.count("/") + 2)
        include = (
            f"```{{literalinclude}} {up}{file}\n:language: {LEXERS.get(Path(file).suffix, 'text')}\n```\n"
        )
        self.texts[f"files/{file}.md"] = f"{_orphan(file)}{include}"
        return f"files/{file}.md"

    def _folder(self, folder: str) -> str:
        """Return the link to a page that lists a folder, with links to its short texts."""
        entries = []
        for path in sorted((ROOT / folder).glob("[!_.]*")):
            if path.suffix in LEXERS and path.stat().st_size < LONGEST_SHOWN:
                self._file(f"{folder}/{path.name}")
                entries.append(f"- [{path.name}]({Path(folder).name}/{path.name}.md)\n")
            else:
                entries.append(f"- {path.name}\n")
        self.texts[f"files/{folder}.md"] = f"{_orphan(folder)}{''.join(entries)}"
        return f"files/{folder}.md"

    def _copy(self, file: str) -> str:
        """Return a link to a copy of a file; `copy:` is a scheme of conf.py."""
        self.copied.add(file)
        return f"copy:{file}"

    def _gallery(self) -> str:
        """Return a page with the committed figures, one of each name; those of results/chinchilla first."""
        drawn = _drawn()
        parts, seen = ["# Gallery of figures", ""], set[str]()
        first = ROOT / "results/chinchilla/figures"
        for folder in [first, *sorted(ROOT.glob("results/*/figures"))]:
            new = [path for path in sorted(folder.glob("*.svg")) if path.stem not in seen]
            if not new:
                continue
            name = f"results/{folder.parent.name}"
            parts += [f"## {name}", "", f"From [its report]({self._copy(f'{name}/report.html')}).", ""]
            for path in new:
                seen.add(path.stem)
                function = drawn_by(path.stem, drawn)
                parts += [f"### {path.stem.replace('_', ' ').capitalize()}", ""]
                parts += [f"![{path.stem}](../{path.relative_to(ROOT).as_posix()})", ""]
                shown = f"{{py:func}}`sl.figures.{function} <analysis.figures.{function}>`"
                parts += [f"{shown}: {drawn[function]}", ""]
        return "\n".join(parts)


def drawn_by(stem: str, functions: Collection[str]) -> str:
    """Return the function that draws a figure of this name, the longest that the name begins with.

    Raises:
        LookupError: no function has such a name.
    """
    fitting = [name for name in functions if stem == name or stem.startswith(f"{name}_")]
    found = DRAWN_BY.get(stem) or max(fitting, key=len, default=None)
    if found is None or found not in functions:
        raise LookupError(f"no function of analysis/plots draws {stem}: name the one that does in DRAWN_BY")
    return found


def api(module: ModuleType, exported: Iterable[str], other: Container[object] = ()) -> str:
    """Return the page of a package's public names, and of nothing else.

    Args:
        module: the package.
        exported: its `__all__`. A name whose object is a module is followed by that module's own `__all__`.
        other: objects that another page shows too; that page gets their entry in the index.
    """
    name = module.__name__
    parts = [f"# import {name}", "", "```{eval-rst}", f".. automodule:: {name}", "   :no-members:", "```", ""]
    names = [each for each in exported if not each.startswith("_")]
    modules = [each for each in names if isinstance(getattr(module, each), ModuleType)]
    parts += _summary(module, [each for each in names if each not in modules])
    for each in names:
        if each not in modules:
            parts += [f"## {each}", "", *_directive(name, each, getattr(module, each), other), ""]
    for each in modules:
        inner = getattr(module, each)
        parts += [f"## {each}", "", *_summary(inner, inner.__all__, f"{each}.")]
        for item in inner.__all__:
            parts += [*_directive(f"{name}.{each}", item, getattr(inner, item), other), ""]
    return "\n".join(parts)


def _summary(module: ModuleType, names: Iterable[str], prefix: str = "") -> list[str]:
    """Return a table of those names that have a docstring, with its first sentence."""
    listed = [f"   {prefix}{each}" for each in names if callable(getattr(module, each))]
    head = [".. autosummary::", "   :nosignatures:", ""]
    return [
        "```{eval-rst}",
        f".. currentmodule:: {module.__name__.split('.')[0]}",
        "",
        *head,
        *listed,
        "```",
        "",
    ]


def _directive(module: str, name: str, value: object, other: Container[object]) -> list[str]:
    """Return the directive that shows one public name."""
    if not callable(value):
        what = f"A dict of {', '.join(value)}." if isinstance(value, Mapping) else f"= {value!r}"
        return ["```{eval-rst}", f".. py:data:: {module}.{name}", "", f"   {what}", "```"]
    kind, members = ("class", ["   :members:"]) if isinstance(value, type) else ("function", [])
    shown = ["   :no-index:"] if value in other else []
    return ["```{eval-rst}", f".. auto{kind}:: {module}.{name}", *members, *shown, "```"]


def _contents() -> str:
    """Return the lists of pages for the sidebar, which the front page carries hidden."""
    parts = [""]
    for caption, section in SECTIONS.items():
        listed = [(name, title) for _, name, title in section if name != "index"]
        listed += [(name, title) for _, name, title in tutorials()] if caption == "Tutorials" else []
        listed += MADE.get(caption, [])
        if listed:
            parts += ["```{toctree}", ":hidden:", f":caption: {caption}", ""]
            parts += [f"{title} <{name}>" for name, title in listed]
            parts += ["```", ""]
    return "\n".join(parts)


def _orphan(title: str) -> str:
    """Return the head of a page that the sidebar does not list."""
    return f"---\norphan: true\n---\n\n# {title}\n\n"


def _cells(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]


def _heading(text: str) -> str:
    return text.splitlines()[0].lstrip("# ")


def _drawn() -> dict[str, str]:
    """Return the first sentence on every public function that draws, by name."""
    return {
        node.name: (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
        for path in sorted((ROOT / "analysis/plots").glob("*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }
