"""A real browser for tests of pages: Debian's chromium without a window, driven over a pipe.

Chromium's own protocol needs no driver program and no package: JSON messages that end with a zero byte.

References: https://chromedevtools.github.io/devtools-protocol/.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NO_BROWSER = "chromium is not installed: apt-get install chromium"
PATIENCE = 30.0  # seconds for one answer
TYPED = {"Enter": "\r", " ": " "}  # keys that a page takes as text
CODES = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}  # by which a box scrolls
FREE = 20  # descriptors from here on collide with none that the protocol asks for
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars "
    "--disable-background-networking --disable-component-update --disable-extensions --mute-audio "
    "--force-color-profile=srgb --remote-debugging-pipe"
)


class Browser:
    """A running chromium."""

    def __init__(self, profile: Path) -> None:
        ours_read, theirs_write = os.pipe()
        theirs_read, ours_write = os.pipe()
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, FREE) for fd in (theirs_read, theirs_write)]
        command = (
            f'exec "{CHROMIUM}" {OPTIONS} --user-data-dir="{profile}" about:blank 3<&{fds[0]} 4>&{fds[1]}'
        )
        self._process = subprocess.Popen(
            ["bash", "-c", command], pass_fds=fds, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for fd in (theirs_read, theirs_write, *fds):
            os.close(fd)
        self._read, self._write = ours_read, ours_write
        self._rest = b""
        self._sent = 0
        self.events: list[dict[str, Any]] = []

    def send(self, method: str, session: str | None = None, **params: Any) -> Any:
        """Send a command and return its result; what happens meanwhile goes to `events`."""
        self._sent += 1
        message: dict[str, Any] = {"id": self._sent, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._receive(PATIENCE)
            if found.get("id") == self._sent:
                assert "error" not in found, f"{method}: {found['error']}"
                return found["result"]

    def wait_for(self, event: str, session: str) -> None:
        """Wait for an event that may have come already."""
        while not any(each["method"] == event and each.get("sessionId") == session for each in self.events):
            self._receive(PATIENCE)

    def _receive(self, patience: float) -> dict[str, Any]:
        end = time.monotonic() + patience
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
            assert ready, f"chromium said nothing for {patience:g} s"
            more = os.read(self._read, 1 << 20)
            assert more, "chromium ended"
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        if "method" in found:
            self.events.append(found)
        return found

    def open(
        self,
        place: Path | str,
        fragment: str = "",
        *,
        width: int = 1280,
        height: int = 900,
        script: bool = True,
    ) -> Page:
        """Open a file or an address in a tab of its own and wait until it is loaded.

        Args:
            script: whether the scripts of the page run.
        """
        address = place if isinstance(place, str) else place.resolve().as_uri()
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, target, address)
        for part in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{part}.enable")
        page.size(width, height)
        page.send("Emulation.setScriptExecutionDisabled", value=not script)
        page.send("Page.navigate", url=address + fragment)
        self.wait_for("Page.loadEventFired", session)
        page.send("Emulation.setScriptExecutionDisabled", value=False)
        return page

    def close(self) -> None:
        """End the browser."""
        try:
            self.send("Browser.close")
            self._process.wait(10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        os.close(self._write)


class Page:
    """A tab."""

    def __init__(self, browser: Browser, session: str, target: str, address: str) -> None:
        self.browser, self.session, self.target = browser, session, target
        self.own = ("file:", "data:", "blob:", *re.findall("^https?://[^/]+/", address))

    def send(self, method: str, **params: Any) -> Any:
        return self.browser.send(method, self.session, **params)

    def run(self, expression: str) -> Any:
        """Return the value of an expression, awaited if it is a promise."""
        found = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression holds."""
        end = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """Return the text of an element as it is seen."""
        return str(self.run(f"document.querySelector({selector!r}).innerText"))

    def size(self, width: int, height: int) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 640)  # fmt: skip

    def media(self, *, dark: bool = False, paper: bool = False) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", media="print" if paper else "", features=[scheme])

    def place(self, selector: str) -> tuple[float, float]:
        """Scroll to an element and return the middle of it, CSS pixels."""
        found = self.run(
            f"(() => {{const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'center'}});"
            "const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]})()"
        )
        return found[0], found[1]

    def point(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        """Click an element with the mouse."""
        x, y = self.place(selector)
        self.point(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a list, or type into a field or a slider, as a person does it."""
        self.run(
            f"(() => {{const e = document.querySelector({selector!r}); e.value = {value!r};"
            "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, {bubbles: true}))})()"
        )

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key on what has the focus."""
        text = {"text": TYPED[key]} if key in TYPED else {}
        code = {"windowsVirtualKeyCode": CODES[key]} if key in CODES else {}
        for kind, more in (("keyDown", text | code), ("keyUp", code)):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, modifiers=8 * shift, **more)

    def picture(self) -> bytes:
        """Return what is seen as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot")["data"])

    def complaints(self) -> list[str]:
        """Return errors of scripts, of the content policy, and requests beyond the file itself."""
        own = [each for each in self.browser.events if each.get("sessionId") == self.session]
        said = [each["params"]["exceptionDetails"]["text"] for each in own
                if each["method"] == "Runtime.exceptionThrown"]  # fmt: skip
        said += [each["params"]["entry"]["text"] for each in own if each["method"] == "Log.entryAdded"]
        said += [str(each["params"]["args"]) for each in own if each["method"] == "Runtime.consoleAPICalled"]
        urls = [each["params"]["request"]["url"] for each in own
                if each["method"] == "Network.requestWillBeSent"]  # fmt: skip
        return said + [url for url in urls if not url.startswith(self.own)]

    def close(self) -> None:
        self.browser.send("Target.closeTarget", targetId=self.target)


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start chromium with a fresh profile; end it afterwards."""
    running = Browser(profile)
    try:
        yield running
    finally:
        running.close()
