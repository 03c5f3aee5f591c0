"""Answers to the paths of the site: pages, their data, and the few files of a sweep that are served."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from jinja2 import Environment

from analysis.report.environment import templates_in
from analysis.report.live import script_hash
from analysis.serve.folder import REPORT, Found, find_folders, served_file
from analysis.serve.index import Index, trouble
from analysis.serve.live import LiveSweep
from harness.records.command_line import as_typed
from harness.records.errors import InputError
from harness.records.json_files import plain

HERE = Path(__file__).parent
HTML, JSON, TEXT = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"
STATIC = {
    "style.css": "text/css; charset=utf-8",
    "poll.js": "text/javascript; charset=utf-8",
    "index.js": "text/javascript; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
}
SUFFIXES = {".html": HTML, ".svg": "image/svg+xml", ".png": "image/png"}
# Own pages run the scripts of /static/ alone, and nothing else.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
# A report is one file with styles, figures and perhaps scripts inside. It has an origin of its own, so that
# it reaches no other page.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts allow-downloads allow-popups"
)
FIGURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
SCRIPT = re.compile(rb"<script\b[^>]*>(.*?)</script\s*>", re.IGNORECASE | re.DOTALL)
LEAST_SECONDS = 1.0  # between two looks at the files, whoever asks
# The look at the files takes at most this share of the time, however large a sweep is.
SHARE = 0.1


@dataclass(frozen=True)
class Answer:
    """An answer to a browser.

    Attributes:
        body: its content.
        kind: media type of the content.
        status: HTTP status.
        policy: content security policy.
    """

    body: bytes
    kind: str
    status: int = 200
    policy: str = POLICY

    @property
    def etag(self) -> str:
        """Name of this very content, by which a browser asks whether it changed."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'


class Look:
    """An answer that is made from files, anew only if the last look is old enough.

    Args:
        make: makes the answer.
    """

    def __init__(self, make: Callable[[], Answer]):
        self._make = make
        self._lock = threading.Lock()
        self._kept: Answer | None = None
        self._until = 0.0

    def answer(self) -> Answer:
        """Return the answer; threads that ask at the same time wait for one look."""
        with self._lock:
            begin = time.monotonic()
            if self._kept is None or begin >= self._until:
                self._kept = self._make()
                now = time.monotonic()
                self._until = now + max(LEAST_SECONDS, (now - begin) * (1 / SHARE - 1))
            return self._kept


class Site:
    """The pages of one folder.

    Args:
        root: the folder.

    Raises:
        InputError: the folder is missing, or holds no sweep at any depth.
    """

    def __init__(self, root: Path):
        if not root.is_dir():
            raise InputError(
                f"expected a folder that holds sweeps, got {root}, which is no folder: type results",
                "folder",
            )
        self.root = root.resolve()
        self.n_sweeps = len(self._found().sweeps)
        if not self.n_sweeps:
            raise InputError(
                f"{root} holds no sweep (no sweep.json at any depth; links are not followed); give the "
                "folder that sweeps write to, such as results",
                "folder",
            )
        self._index = Index(self.root)
        self._front = Look(self._index_page)
        self._looks: dict[str, Look] = {}
        self._lock = threading.Lock()

    def answer(self, path: str) -> Answer:
        """Return the answer to a path of the site, as a browser sends it."""
        top, _, rest = path.partition("?")[0].removeprefix("/").partition("/")
        name = os.fsdecode(unquote_to_bytes(rest))
        if top == "" and not rest:
            return self._front.answer()
        if top == "static" and name in STATIC:
            return Answer((HERE / "static" / name).read_bytes(), STATIC[name])
        if top == "sweep":
            return self._page(name)
        if top == "api" and name.startswith("sweep/"):
            return self._data(name.removeprefix("sweep/"))
        if top == "files":
            return self._file(name)
        return missing()

    def _found(self) -> Found:
        return find_folders(self.root)

    def _index_page(self) -> Answer:
        groups = self._index.groups(self._found())
        return page("index.html.j2", folder=self.root.name, groups=groups)

    def _page(self, name: str) -> Answer:
        return page("live.html.j2", name=name) if name in self._found().sweeps else missing()

    def _data(self, name: str) -> Answer:
        folder = self._found().sweeps.get(name)
        if folder is None:
            return missing()
        with self._lock:
            if name not in self._looks:
                live = LiveSweep(name, folder)
                self._looks[name] = Look(lambda: self._view(live, folder))
        return self._looks[name].answer()

    def _view(self, live: LiveSweep, folder: Path) -> Answer:
        try:
            found = asdict(live.view(served_file(self.root, folder, REPORT) is not None))
        except (InputError, OSError) as error:
            found = {"problem": trouble(error, folder)}
        return Answer(json.dumps(plain(found), allow_nan=False).encode(), JSON)

    def _file(self, asked: str) -> Answer:
        folders = self._found().all
        # One folder may lie in another, so the rest of the path decides.
        for name, folder in folders.items():
            if asked.startswith(f"{name}/"):
                path = served_file(self.root, folder, asked.removeprefix(f"{name}/"))
                if path is not None:
                    # A sweep may replace its report at this very moment.
                    with contextlib.suppress(OSError):
                        return _file_answer(path)
        return missing()


def _file_answer(path: Path) -> Answer:
    body = path.read_bytes()
    policy = report_policy(body) if path.suffix == ".html" else FIGURE_POLICY
    return Answer(body, SUFFIXES[path.suffix], policy=policy)


def missing() -> Answer:
    """Return the answer to a path that leads nowhere."""
    return Answer(b"there is nothing here; / lists the sweeps\n", TEXT, 404)


def report_policy(body: bytes) -> str:
    """Return the policy of a report: of scripts, only those that stand in the file itself may run."""
    hashes = dict.fromkeys(script_hash(script.replace(b"\r\n", b"\n")) for script in SCRIPT.findall(body))
    allowed = " ".join(hashes) or "'none'"
    return f"{REPORT_POLICY}; script-src {allowed}"


def page(template: str, **values: object) -> Answer:
    """Return a page of the site."""
    text = _environment().get_template(template).render(**values)
    # Names of files may hold bytes that are no text.
    return Answer(as_typed(text).encode(errors="replace"), HTML)


def address(name: str) -> str:
    """Return the name of a folder as a part of an address."""
    return quote(os.fsencode(name))


@cache
def _environment() -> Environment:
    made = templates_in(HERE / "templates")
    made.filters["address"] = address
    return made
