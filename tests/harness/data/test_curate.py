"""Curation of real text by datatrove, as users start it: on this machine, killed and continued, Ray, Slurm.

The text is the language reference that comes with Python, with copies, notes in French and an address.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from html import escape
from importlib.metadata import version
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from harness.data import curate
from harness.data.build import DataConfig
from harness.data.curation.report import Curation, find_curation
from harness.data.curation.stages import Read
from harness.data.prepare import prepare_corpus
from harness.data.text.corpora import list_files
from harness.data.text.file_tokenizer import read_tokenizer
from tests import ROOT
from tests.harness.data.curation.test_pages import ARTICLE, SITE, answer, needs_resiliparse, record
from tests.harness.data.curation.test_recipe import EXAMPLE, SMALL, tokenizer_json, written
from tests.preloaded import Popen, preload
from tests.slurm_cluster import cluster, why_not

FRENCH = """La suite de ce chapitre décrit la syntaxe des expressions et la manière dont elles sont évaluées.
Une expression est une combinaison de valeurs, de variables et d'appels de fonctions. """
ADDRESS = "jane.doe@cs.example.edu"
N_TASKS = 3
WHY_NOT = why_not()


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


needs_datatrove = pytest.mark.skipif(
    not has("datatrove"), reason="needs the extra curate: uv sync --extra curate"
)
needs_ray = pytest.mark.skipif(not has("ray"), reason="needs the extra ray: uv sync --extra ray")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example recipe on real text, without the large lists of addresses and with few buckets."""
    folder = tmp_path_factory.mktemp("raw")
    texts = [topics[name] for name in sorted(topics)[:40]]
    rows = [{"text": text, "id": f"topic {i}"} for i, text in enumerate(texts)]
    rows += [{"text": FRENCH * 5 + str(i), "id": f"french {i}"} for i in range(12)]
    longest = max(texts, key=len)
    rows += [
        {"text": f"{longest}\nAsk {ADDRESS} about it.", "id": "copy"},
        {"text": texts[1] + " This is a darn bad word, in the middle of a text.", "id": "darn"},
        {
            "text": f"Write to {ADDRESS}. {texts[2]}",
            "id": "banned",
            "url": "https://sub.banned.example.com/page",
        },
        {"title": "no text"},
    ]
    (folder / "texts").mkdir()
    french = [row for row in rows if str(row.get("id")).startswith("french")]
    others = [row for row in rows if row not in french]
    # The second task drops all that it reads, and has no file in the later stages.
    for part, its in enumerate([others[::3], french, others[1::3], others[2::3]]):
        lines = "".join(json.dumps(row) + "\n" for row in its)
        (folder / "texts" / f"{part}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    wrong = b'{"text": "cut'
    (folder / "texts" / "4.jsonl").write_bytes(b'{"text": "no utf-8: \xff"}\n' + wrong)
    (folder / "tokenizer.json").write_text(tokenizer_json())
    (folder / "words.txt").write_text("darn\nnot there\n")
    content = yaml.safe_load(EXAMPLE.read_text())
    content["read"]["path"] = str(folder / "texts")
    content["tokenize"]["tokenizer"] = str(folder / "tokenizer.json")
    content["executor"] = {"tasks": N_TASKS, "workers": 1}
    options = {
        "url": {"use_integrated_lists": False, "extra_domains": ["example.com"]},
        # A reference has many short lines and marks.
        "gopher_repetition": {"dup_n_grams": [], "top_n_grams": []},
        "gopher_quality": {"max_non_alpha_words_ratio": 0.5},
        "fineweb": {"char_duplicates_ratio": 0.1, "short_line_thr": 0.9},
        "minhash": {"num_buckets": 2, "hashes_per_bucket": 4},
        "c4": {"filter_no_terminal_punct": False, "filter_curly_bracket": False},
    }
    names = [each if isinstance(each, str) else next(iter(each)) for each in content["steps"]]
    kept = {next(iter(each)): each for each in content["steps"] if isinstance(each, dict)}
    content["steps"] = [{name: options[name]} if name in options else kept.get(name, name) for name in names]
    content["steps"].insert(2, {"bad_words": {"file": str(folder / "words.txt")}})
    return written(folder, content)


# The command, which asks Slurm more often than users should.
CURATE = """
import sys
from harness.data.curation import execute
execute.POLL_SECONDS = 0.2
from harness.data import curate
sys.exit(curate.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """Commands begin with what each of them imports, for most of its time."""
    names = ["harness.data.curate", "tldextract"]
    names += [f"datatrove.pipeline.{name}" for name in ("tokens", "filters", "dedup", "formatters")]
    preload(*(name for name in names if has(name.split(".")[0])))


def command(recipe: Path, output: Path, *overrides: str) -> subprocess.Popen[str]:
    """Start the command in a session of its own: some executors leave processes behind if they are killed."""
    return Popen(
        [sys.executable, "-c", CURATE, str(recipe), f"output={output}", *overrides],
        cwd=ROOT,
        # By itself Ray is nice to everybody, so on a busy machine its workers wait for ever.
        env=os.environ | {"RAY_worker_niceness": "0", "RAY_prestart_worker_first_driver": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def curated(recipe: Path, output: Path, *overrides: str) -> str:
    process = command(recipe, output, *overrides)
    try:
        said, errors = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    log = output / curate.WORK / "datatrove.log"
    assert process.returncode == 0, errors + (log.read_text()[-3000:] if log.exists() else "")
    assert errors == ""
    return said


def refused(recipe: Path, output: Path, *overrides: str) -> str:
    """What the command says that ends with 2; datatrove forks, which a process with JAX must not."""
    process = command(recipe, output, *overrides)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 2, said
    return said


@pytest.fixture(scope="module")
def alone(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus that nobody disturbed."""
    output = tmp_path_factory.mktemp("alone") / "out"
    said = curated(recipe, output)
    assert "stage 4 of 4: 4_finish, 3 task(s)" in said
    assert f"data=tokens data.path={output} data.tokenizer={output}/tokenizer.json" in said
    return output


def content_of(output: Path) -> dict[str, bytes]:
    """Bytes of every file but the report, which names the folder."""
    return {path.name: path.read_bytes() for path in output.iterdir() if path.name != "curation.json"}


def assert_same(output: Path, alone: Path) -> None:
    assert content_of(output) == content_of(alone)
    reports = [find_curation(each) for each in (output, alone)]
    assert all(isinstance(each, Curation) for each in reports)
    assert reports[0].steps == reports[1].steps  # type: ignore[union-attr]


@needs_datatrove
def test_every_step_drops_what_it_should_and_says_so(alone: Path) -> None:
    report = find_curation(alone)
    assert report is not None
    steps = {step.step: step for step in report.steps}
    order = ["read", "url", "language", "bad_words", "gopher_repetition", "gopher_quality", "c4", "fineweb"]
    assert list(steps) == [*order, "minhash", "pii"]
    assert steps["read"].left.documents == 40 + 12 + 3
    assert {reason: found.documents for reason, found in steps["read"].dropped.items()} == {
        "no text in 'text'": 1,
        "not UTF-8": 1,
        "not JSON": 1,
    }
    assert [example.url for example in steps["url"].examples] == ["https://sub.banned.example.com/page"]
    assert steps["language"].dropped["fr"].documents == 12
    assert len(steps["language"].examples) == 10
    assert report.languages["fr"].found.documents == 12
    assert report.languages["fr"].left.documents == 0
    assert report.languages["en"].left.documents > 10
    assert {reason: found.documents for reason, found in steps["bad_words"].dropped.items()} == {"darn": 1}
    beginning = topics[sorted(topics)[1]][:60]
    assert [(each.reason, each.text[:60]) for each in steps["bad_words"].examples] == [("darn", beginning)]
    assert steps["minhash"].dropped["near duplicate"].documents == 1
    longest = max(sorted(topics)[:40], key=lambda name: len(topics[name]))
    # One of the two; which one, the order of the files says.
    (example,) = steps["minhash"].examples
    assert example.text[:60] in topics[longest]
    for before, after in zip(report.steps, report.steps[1:], strict=False):
        gone = sum(found.documents for found in after.dropped.values())
        assert before.left.documents - after.left.documents == gone
    assert sum(each.left.documents for each in report.lengths) == report.steps[-1].left.documents


@needs_datatrove
def test_the_corpus_is_read_by_data_tokens_with_its_report(alone: Path, tmp_path: Path) -> None:
    report = find_curation(alone)
    assert report is not None
    assert [path.name[:5] for path in sorted(alone.glob("*.ds"))] == ["00000", "00002"]
    config = DataConfig(
        name="tokens",
        path=str(alone),
        tokenizer=str(alone / "tokenizer.json"),
        vocab_size=0,
        eval_fraction=0.2,
        min_eval_tokens=1000,
    )
    corpus = prepare_corpus(config, tmp_path)
    assert corpus.report["curation"]["steps"][0]["left"]["documents"] == 55
    ends = [np.fromfile(path, "<u8") for path in alone.glob("*.ds.index")]
    assert sum(len(each) for each in ends) == report.steps[-1].left.documents
    assert sum(int(each[-1]) for each in ends) == report.n_tokens
    # Each byte is a token here, and each document has a separator.
    left = report.steps[-1].left
    assert report.n_tokens == left.bytes + left.documents
    assert corpus.tokenizer is not None
    text = "".join(corpus.tokenizer.decode(np.fromfile(path, "<u2")) for path in sorted(alone.glob("*.ds")))
    assert ADDRESS not in text + (alone / "curation.json").read_text()
    assert "darn" not in text
    # Without the report the tokens are the same corpus.
    (tmp_path / "copy").mkdir()
    for name, data in content_of(alone).items():
        (tmp_path / "copy" / name).write_bytes(data)
    bare = prepare_corpus(DataConfig(**(vars(config) | {"path": str(tmp_path / "copy")})), tmp_path)
    assert bare.corpus_id == corpus.corpus_id
    assert "curation" not in bare.report


@needs_datatrove
def test_a_killed_command_goes_on_and_a_finished_one_does_nothing(
    recipe: Path, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    process = command(recipe, output)
    first = output / curate.WORK / "1_filter/completions/00000"
    while not first.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (output / "curation.json").exists()
    # The folder of work is gone at the end, the file has another name then.
    before = first.stat().st_mtime_ns
    os.link(first, tmp_path / "first")
    curated(recipe, output)
    assert (tmp_path / "first").stat().st_mtime_ns == before, "the finished task was done again"
    assert_same(output, alone)
    assert curate.main([str(recipe), f"output={output}"]) == 0
    said = capsys.readouterr().out
    assert "stage" not in said
    assert "read                        55 documents" in said


def test_without_the_extra_it_is_one_sentence(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert curate.main([str(recipe), f"output={tmp_path / 'out'}"]) == 2
    said = capsys.readouterr().err
    assert said == "error: curation needs datatrove, which is not installed; type uv run --extra curate\n"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "resiliparse" else name)
    assert curate.main([str(recipe), f"output={tmp_path / 'out'}", "steps=[extract]"]) == 2
    said = capsys.readouterr().err
    assert said == "error: extract needs resiliparse, which is not installed; type uv run --extra curate\n"
    assert not (tmp_path / "out").exists()


@needs_datatrove
def test_a_folder_of_something_else_is_left_alone(
    recipe: Path, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused_here(output: Path, *overrides: str) -> str:
        assert curate.main([str(recipe), f"output={output}", *overrides]) == 2
        return capsys.readouterr().err

    (tmp_path / "mine.bin").touch()
    assert "holds other files, expected a new or empty folder" in refused_here(tmp_path)
    assert "is a file; name a folder" in refused_here(tmp_path / "mine.bin")
    assert "was begun with other tokenize; name another folder" in refused_here(alone, "tokenize.seed=1")
    (tmp_path / "busy" / "work").mkdir(parents=True)
    with curate._alone(tmp_path / "busy" / "work"):
        assert "another process works in output=" in refused_here(tmp_path / "busy")


@needs_datatrove
@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("read.text_field=body", "has no record with a text in body; name its field with read.text_field"),
        ("steps=[{language: {keep: [ja]}}]", "no document passed language; leave it out"),
    ],
)
def test_a_corpus_of_nothing_is_one_sentence(
    override: str, sentence: str, recipe: Path, tmp_path: Path
) -> None:
    assert sentence in refused(recipe, tmp_path / "out", "steps=[pii]", override)


@needs_datatrove
@pytest.mark.parametrize("name", ["cut.jsonl.gz", "cut.jsonl.zst", "none.parquet"])
def test_a_damaged_file_is_one_sentence(name: str, recipe: Path, tmp_path: Path) -> None:
    lines = (json.dumps({"text": "word " * 2000}) + "\n").encode() * 5
    cut = {
        ".gz": gzip.compress(lines, 0)[:20_000],
        ".zst": pa.compress(lines, codec="zstd", asbytes=True)[:20],
        ".parquet": b"PAR1",
    }
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / name).write_bytes(cut[Path(name).suffix])
    place = f"read.path={tmp_path / 'texts'}"
    said = refused(recipe, tmp_path / "out", place, "steps=[pii]")
    # In a process of its own what datatrove says goes into a file.
    assert said.splitlines()[-1].startswith(f"error: {tmp_path}/texts/{name} cannot be read (")


@needs_datatrove
@needs_resiliparse
def test_pages_of_archives_become_a_corpus_and_all_that_is_left_out_is_counted(
    recipe: Path, tmp_path: Path
) -> None:
    texts = [topics[name] for name in sorted(topics)[:6]]
    pages = [SITE.format("".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n"))) for text in texts]
    deep = "<body>" + "<div>" * 100_000 + ARTICLE  # It would take minutes.
    answers = [answer(page.encode()) for page in [*pages[:4], "<script>only</script>", deep]]
    answers += [answer(b"gone", status="410 Gone"), answer(b"\x89PNG", "image/png")]
    data = b"".join(gzip.compress(record("response", f"http://{i}.org/", a)) for i, a in enumerate(answers))
    banned = record("response", "https://sub.banned.example.com/", answer(pages[4].encode()))
    (tmp_path / "web").mkdir()
    (tmp_path / "web/a.warc.gz").write_bytes(data + gzip.compress(banned))
    plain = record("conversion", "http://wet.org/", b"Text that was extracted before: a < b.", "text/plain")
    (tmp_path / "web/a.warc.wet.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "web/saved.html").write_text(pages[5])
    url_step = "{url: {use_integrated_lists: false, extra_domains: [example.com]}}"
    steps = f"steps=[{url_step}, {{extract: {{timeout: 3}}}}, pii]"
    place = f"read.path={tmp_path / 'web'}"
    curated(recipe, tmp_path / "out", place, steps, "executor.tasks=2", "executor.workers=2")
    report = find_curation(tmp_path / "out")
    assert report is not None
    read, url, extract, pii = report.steps
    assert {reason: found.documents for reason, found in read.dropped.items()} == {
        "no HTML": 1,
        "status 410": 1,
    }
    assert [step.left.documents for step in report.steps] == [9, 8, 6, 6]
    assert [example.url for example in url.examples] == ["https://sub.banned.example.com/"]
    assert {reason: found.documents for reason, found in extract.dropped.items()} == {
        "longer than 3 s": 1,
        "no text": 1,
    }
    assert {example.url for example in extract.examples} == {"http://4.org/", "http://5.org/"}
    assert extract.left.bytes < url.left.bytes - len(deep)
    assert pii.left == extract.left
    assert report.decided_by["resiliparse"] == version("resiliparse")
    tokens = [np.fromfile(path, "<u2") for path in sorted((tmp_path / "out").glob("*.ds"))]
    tokenizer = read_tokenizer(str(tmp_path / "out/tokenizer.json"))
    corpus = "".join(tokenizer.decode(part) for part in tokens)
    assert "Text that was extracted before: a < b." in corpus
    assert all(word not in corpus for word in ("Imprint", "<p>", "Home", "gone"))
    for text in (*texts[:4], texts[5]):
        longest = max(text.split("\n\n"), key=len)
        assert " ".join(longest.split()) in " ".join(corpus.split())
    refusal = refused(recipe, tmp_path / "other", place, "steps=[pii]")
    assert refusal == f"error: {place} holds pages of the web; add the step extract to get their text\n"


@needs_datatrove
@needs_ray
@pytest.mark.ray
def test_ray_gives_the_same_corpus(recipe: Path, tmp_path: Path) -> None:
    """Every stage, with as few tasks as show that they are put together: each starts a process."""
    minhash = "{minhash: {num_buckets: 1, hashes_per_bucket: 4}}"
    few = [f"steps=[fineweb, {minhash}, pii]", "executor.tasks=2"]
    curated(recipe, tmp_path / "here", *few)
    curated(recipe, tmp_path / "out", "executor.name=ray", "executor.workers=2", *few)
    assert_same(tmp_path / "out", tmp_path / "here")
    report = find_curation(tmp_path / "out")
    assert report is not None
    assert report.steps[2].dropped["near duplicate"].documents > 0


@needs_datatrove
@pytest.mark.slurm
@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_slurm_gives_the_same_corpus(recipe: Path, tmp_path: Path) -> None:
    short = ["steps=[fineweb, pii]", "executor.tasks=2"]
    curated(recipe, tmp_path / "here", *short)
    executor = "{name: slurm, partition: low, minutes: 5, sbatch: {mem-per-cpu: 400M}}"
    with cluster(tmp_path / "slurm"):
        curated(recipe, tmp_path / "out", f"executor={executor}", *short)
    assert_same(tmp_path / "out", tmp_path / "here")


def test_a_wrong_recipe_ends_with_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert curate.main([str(written(tmp_path, SMALL | {"steps": ["c5"]}))]) == 2
    assert capsys.readouterr().err.startswith("error: steps holds the unknown step c5")


@needs_datatrove
def test_addresses_come_from_columns_and_fields(tmp_path: Path) -> None:
    urls = ["https://a.example.com/1", None, "https://b.example.org/2"]
    table = pa.table({"text": ["one", "two", "three"], "link": urls})
    pq.write_table(table, tmp_path / "with.parquet")
    pq.write_table(table.drop_columns("link"), tmp_path / "without.parquet")
    lines = [json.dumps({"text": str(url), "link": url}) for url in urls]
    (tmp_path / "lines.jsonl").write_text("\n".join(lines))
    (tmp_path / "plain.txt").write_text("a text\n")
    files = {file.name: file for file in list_files(str(tmp_path))}

    def read(name: str) -> list[str | None]:
        found = Read((files[name],), str(tmp_path / "counts"), url_field="link")()
        return [document.metadata.get("url") for document in found]

    assert read("with.parquet") == urls
    assert read("lines.jsonl") == urls
    assert read("without.parquet") == [None] * 3
    assert read("plain.txt") == [None]
