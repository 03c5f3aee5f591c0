"""`python -m harness.bench.preparation`: memory and speed of preparing text that is larger than memory.

The text is that of this environment's Python files, repeated with changes. Preparing it is compared with the
batch encoding of `tokenizers` on the same cores. CPU seconds stand beside wall-clock seconds, because others
may use the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import zstandard

from harness.bench.figures import print_figures
from harness.data.build import DataConfig
from harness.data.build_streamed import LARGEST_IN_MEMORY, is_large
from harness.data.text.corpora import PYTHON_PACKAGES, list_files, list_python
from harness.records.command_line import CommandParser, output_file
from harness.records.errors import InputError
from harness.records.json_files import to_json

DESCRIPTION = """\
Measure how much memory, and how much time, it takes to prepare text that is larger than memory; with
--kill-at, prepare it again, killed once, and compare every byte that comes out. The text is made from this
environment's Python files, repeated with changes."""
FILE_MB = 64
CHANGED = re.compile(r"[a-z_]{5,}")  # names that a repetition changes
SHARE_COPIED = 0.1  # of the repetitions: near duplicates of what was there before
PREPARE = """
import sys
from pathlib import Path
from harness.data.prepare import DataConfig, prepare_corpus
vocab, tokenizer, eval_fraction, path, cache = sys.argv[1:]
config = DataConfig("text", int(vocab), tokenizer, float(eval_fraction), 1, path=path)
prepare_corpus(config, Path(cache), lambda line: print(line, file=sys.stderr, flush=True))
"""
ENCODE = """
import json, sys, time
from pathlib import Path
import tokenizers
definition, path = sys.argv[1:]
texts = [row["text"] for row in map(json.loads, open(path, encoding="utf-8"))]
model = tokenizers.Tokenizer.from_str(Path(definition).read_text())
wall, cpu = time.monotonic(), time.process_time()
model.encode_batch(texts, add_special_tokens=False)
print(time.monotonic() - wall, time.process_time() - cpu)
"""


@dataclass(frozen=True)
class Cost:
    """What a process and those that it started took.

    Attributes:
        seconds: by the clock.
        cpu_seconds: of all processes.
        memory_mb: largest memory of all of them together, shared pages counted once.
        processes: most of them at once.
        killed: whether it was killed before its end.
    """

    seconds: float
    cpu_seconds: float
    memory_mb: float
    processes: int
    killed: bool


def make_text(folder: Path, mb: float, sample: Path, sample_mb: float) -> float:
    """Write about `mb` MB of text as .jsonl.zst and .txt, and the first of it as lines; return its MB."""
    written = sampled = 0
    texts = _texts(random.Random(0))
    with sample.open("w", encoding="utf-8") as lines:
        for number in range(10**6):
            if written >= mb * 1e6:
                break
            is_lines = number % 3 < 2
            raw = (folder / f"{number:04d}{'.jsonl.zst' if is_lines else '.txt'}").open("wb")
            size = 0
            with zstandard.ZstdCompressor(3).stream_writer(raw) if is_lines else raw as out:
                while size < min(FILE_MB, mb) * 1e6 and written + size < mb * 1e6:
                    text = next(texts)
                    row = json.dumps({"text": text}) + "\n"
                    data = text.encode()
                    out.write(row.encode() if is_lines else data + b"\n\n")
                    size += len(data)
                    if sampled < sample_mb * 1e6:
                        lines.write(row)
                        sampled += len(data)
            written += size
    return written / 1e6


def _texts(rng: random.Random) -> Iterator[str]:
    """Yield the Python files of this environment, then again and again with changes."""
    files = list_python(PYTHON_PACKAGES)
    texts = [Path(file.path).read_text(encoding="utf-8", errors="ignore") for file in files]
    rng.shuffle(texts)
    yield from texts
    while True:
        for text in texts:
            if rng.random() < SHARE_COPIED:
                yield f"{text}\n# {rng.random()}\n"
            else:
                yield CHANGED.sub(rf"\g<0>_{rng.randrange(10**6)}", text, count=len(text) // 40)


def watch(command: list[str], kill_after: float | None = None) -> Cost:
    """Run a command, or kill it after some seconds, and return what it took.

    Raises:
        InputError: the command failed.
    """
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(command)
    memory, most, killed = 0, 0, False
    while process.poll() is None:
        sizes = list(_sizes(process.pid))
        memory, most = max(memory, sum(sizes)), max(most, len(sizes))
        if kill_after is not None and time.monotonic() - began > kill_after:
            process.kill()
            process.wait()
            killed = True
            break
        time.sleep(0.2)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode and not killed:
        raise InputError(f"a preparation ended with exit code {process.returncode}; its message stands above")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(time.monotonic() - began, cpu, memory / 1e6, most, killed)


def _sizes(pid: int) -> Iterator[int]:
    """Yield the memory of a process and of those below it, shared pages in parts."""
    try:
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            full = each.memory_full_info()
            yield getattr(full, "pss", full.rss)
    except psutil.Error:
        return


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    example = "python -m harness.bench.preparation --mb 500 --kill-at 0.5"
    parser = CommandParser("harness.bench.preparation", DESCRIPTION, example)
    parser.add_argument("--mb", type=float, default=500, help="size of the text (default 500)")
    parser.add_argument("--sample-mb", type=float, default=24, help="encoded for comparison (default 24)")
    parser.add_argument("--tokenizer", default="bpe", help="bpe (default), or the path of a tokenizer.json")
    parser.add_argument("--vocab", type=int, default=512, help="vocabulary of bpe (default 512)")
    parser.add_argument("--eval-fraction", type=float, default=0.04, help="share held out (default 0.04)")
    parser.add_argument(
        "--kill-at",
        type=float,
        metavar="SHARE",
        help="prepare it again, killed (SIGKILL) after this share of the time, and compare all bytes",
    )
    parser.add_argument("--json", type=output_file, help="where the figures go beside the screen")
    return parser.answer(arguments, measure)


def measure(options: argparse.Namespace) -> None:
    """Make the text, prepare and encode it, and print and write the figures."""
    with tempfile.TemporaryDirectory(prefix="preparation-") as name:
        figures = compared(Path(name), options)
    print_figures(figures, options.json)


def compared(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one text."""
    if options.kill_at is not None and not 0 < options.kill_at < 1:
        raise InputError(f"a share of the time is {options.kill_at:g}, expected between 0 and 1", "kill_at")
    texts, sample = folder / "texts", folder / "sample.jsonl"
    texts.mkdir()
    mb = make_text(texts, options.mb, sample, options.sample_mb)
    if not is_large(DataConfig("text", options.vocab), list_files(str(texts))):
        raise InputError(
            f"{mb:.0f} MB of text are prepared in memory, expected clearly more than "
            f"{LARGEST_IN_MEMORY / 1e6:.0f}; give more",
            "mb",
        )
    settings = [str(options.vocab), options.tokenizer, str(options.eval_fraction), str(texts)]
    command = [sys.executable, "-c", PREPARE, *settings]
    cost = watch([*command, str(folder / "cache")])
    rows = sample.read_text(encoding="utf-8").splitlines()
    sample_mb = sum(len(json.loads(row)["text"].encode()) for row in rows) / 1e6
    seconds, cpu_seconds = _encode(folder / "cache", sample)
    figures: dict[str, Any] = {
        "mb": mb,
        "files": len(list(texts.iterdir())),
        "prepare": to_json(cost),
        "encode_batch": {"mb": sample_mb, "seconds": seconds, "cpu_seconds": cpu_seconds},
        "speed_over_encode_batch": (mb / cost.seconds) / (sample_mb / seconds),
        "speed_over_encode_batch_by_cpu": (mb / cost.cpu_seconds) / (sample_mb / cpu_seconds),
    }
    if options.kill_at is not None:
        undisturbed = _digests(folder / "cache")
        shutil.rmtree(folder / "cache")  # two caches and the text would need more disk
        figures |= killed([*command, str(folder / "again")], options.kill_at * cost.seconds)
        figures["same_bytes_after_kill"] = _digests(folder / "again") == undisturbed
        figures["files_compared"] = len(undisturbed)
    return figures


def killed(command: list[str], seconds: float) -> dict[str, Any]:
    """Return what a preparation took that was killed after some seconds, and what its second start took.

    Raises:
        InputError: it ended before it was killed.
    """
    first = watch(command, seconds)
    if not first.killed:
        raise InputError(f"the preparation ended before {seconds:.0f} s; give an earlier moment", "kill_at")
    return {"killed": {"first": to_json(first), "second": to_json(watch(command))}}


def _encode(cache: Path, sample: Path) -> tuple[float, float]:
    """Return the seconds and CPU seconds in which `tokenizers` encodes the sample on all cores."""
    (definition,) = cache.glob("corpora/*/*tokenizer.json")
    command = [sys.executable, "-c", ENCODE, str(definition), str(sample)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, cpu = map(float, done.stdout.split())
    return seconds, cpu


def _digests(cache: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of the corpora of a cache, which may be larger than memory."""
    found = {}
    for path in sorted(cache.glob("corpora/*/*")):
        with path.open("rb") as file:
            found[str(path.relative_to(cache))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


if __name__ == "__main__":
    sys.exit(main())
