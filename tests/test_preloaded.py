"""A forked process is what a process started from scratch is, for a program and for who waits for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import preloaded

TELL = """
import json, os, signal, sys
ignored = [int(n) for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN]
print(json.dumps({
    "name": __name__, "arguments": sys.argv, "input": sys.stdin.read(), "folder": os.getcwd(),
    "own": os.environ.get("OWN"), "parent": os.getppid(), "leader": os.getsid(0) == os.getpid(),
    "open": len(os.listdir("/proc/self/fd")), "ignored": ignored,
}))
print("words", file=sys.stderr)
"""


def told(run: object, folder: Path, **named: object) -> tuple[dict[str, object], str, bool]:
    done = run(  # type: ignore[operator]
        [sys.executable, "-c", TELL, "a", "b"], cwd=folder, env=os.environ | {"OWN": "x"}, input="text",
        capture_output=True, text=True, timeout=60, check=True, **named,
    )  # fmt: skip
    return json.loads(done.stdout), done.stderr, done.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no subreapers")
def test_a_fork_has_what_a_start_from_scratch_has(tmp_path: Path) -> None:
    forked = told(preloaded.run, tmp_path, start_new_session=True)
    assert forked == told(subprocess.run, tmp_path, start_new_session=True)
    assert forked[0]["parent"] == os.getpid()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("", 0),
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit('words')", 1),
        ("1 / 0", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import time, signal; signal.alarm(1); time.sleep(60)", -signal.SIGALRM),
    ],
)
def test_its_end_is_known(code: str, expected: int) -> None:
    done = preloaded.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == expected
    assert ("words" in done.stderr, "ZeroDivisionError" in done.stderr) == ("words" in code, "/" in code)


def test_everything_is_imported_and_jax_not_started() -> None:
    code = "import sys; from jax._src.xla_bridge import _backends as started; "
    code += "print('harness.train.loop' in sys.modules, started)"
    done = preloaded.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == ("True {}\n" if sys.platform == "linux" else "False {}\n")


def test_a_module_of_tests_has_more_imported() -> None:
    preloaded.preload("tests.damages")
    code = "import sys; print('tests.damages' in sys.modules)"
    done = preloaded.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{sys.platform == 'linux'}\n"


def test_what_python_and_jax_read_early_takes_a_start_from_scratch() -> None:
    code = "import jax, os, sys; print(jax.config.jax_enable_x64, 'harness.train.loop' in sys.modules)"
    changed = os.environ | {"JAX_ENABLE_X64": "1"}
    done = preloaded.run(
        [sys.executable, "-c", code], env=changed, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "True False\n"
