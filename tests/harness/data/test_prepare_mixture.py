"""Mixtures of sources: preparation, tokenizer, cache, evaluation sets, and what cannot be mixed."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers as hf

from harness.data.build import DataConfig
from harness.data.contamination import read_items, with_contamination
from harness.data.corpus import Corpus, check_size, mixture_note
from harness.data.prepare import prepare_corpus
from harness.data.sources import Source
from harness.data.text.tokenizer import SEPARATOR
from harness.data.tokens.mixture import Mixture
from harness.data.tokens.reader import order_of
from harness.data.unigram import frequencies, token_counts
from harness.evaluate.eval_set import eval_set
from harness.records.errors import InputError
from tests.fakes import token_files

SETTINGS = {
    "weight": 1.0, "path": None, "kind": None, "max_epochs": None, "eval_path": None, "eval_fraction": None,
    "text_field": "text", "token_field": None, "packages": [],
}  # fmt: skip


def source(name: str, **values: object) -> Source:
    return Source.from_settings(name, SETTINGS | values)


def texts(folder: Path, words: str, seed: int, n: int = 120) -> Path:
    """A folder of JSON lines whose documents use words of their own."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = [" ".join(f"{words}{word}" for word in rng.integers(0, 900, 150)) for _ in range(n)]
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mixture")
    texts(root / "web", "w", 0)
    texts(root / "code", "c", 1)
    texts(root / "news", "n", 2, 60)
    return root


def config(places: Path, **weights: float) -> DataConfig:
    weights = weights or {"web": 0.7, "code": 0.3, "news": 0.0}
    sources = tuple(source(name, path=str(places / name), weight=weight) for name, weight in weights.items())
    return DataConfig("mixture", 320, eval_fraction=0.2, min_eval_tokens=33, sources=sources)


@pytest.fixture(scope="module")
def corpus(places: Path) -> Corpus:
    return prepare_corpus(config(places), places / "cache")


def test_a_mixture_has_one_tokenizer_and_the_shares_asked_for(corpus: Corpus) -> None:
    assert isinstance(corpus.train, Mixture)
    assert corpus.train.names == ("web", "code", "news")
    assert corpus.train.counts == (7, 3, 0)
    assert corpus.n_train_tokens == sum(len(each) for each in corpus.train.streams[:2])
    assert corpus.n_eval_tokens == len(corpus.eval) == sum(len(part.eval) for part in corpus.parts)
    assert [part.weight for part in corpus.parts] == [0.7, 0.3, 0]
    # Words of both texts became tokens, and each source reads back as its own text.
    assert corpus.tokenizer is not None
    for stream, word in zip(corpus.train.streams, "wcn", strict=True):
        assert corpus.tokenizer.decode(np.asarray(stream[:40])).startswith(word)
    assert corpus.report["sources"]["news"]["n_train_tokens"] == 0


def test_frequencies_are_mixed_by_weight(corpus: Corpus) -> None:
    assert isinstance(corpus.train, Mixture)
    web, code, _ = (frequencies(np.asarray(each), corpus.vocab_size) for each in corpus.train.streams)
    known = np.log(0.7 * web + 0.3 * code)
    losses = [-token_counts(part.eval, corpus.vocab_size) @ known / len(part.eval) for part in corpus.parts]
    assert corpus.unigram_nats == pytest.approx(0.7 * losses[0] + 0.3 * losses[1], abs=1e-4)
    assert [found["unigram_nats"] for found in corpus.report["sources"].values()] == pytest.approx(
        losses, abs=1e-4
    )


def test_a_warm_start_and_other_weights_prepare_no_text(places: Path, corpus: Corpus) -> None:
    told: list[str] = []
    again = prepare_corpus(config(places), places / "cache", told.append)
    assert told == []
    assert again.corpus_id == corpus.corpus_id
    np.testing.assert_array_equal(again.eval, corpus.eval)
    # A tokenizer of its own is named, as it would be learned anew by the new weights.
    learned = places / "cache" / "corpora"
    path = next(learned.glob("*-tokenizer/tokenizer.json"))
    fixed = replace(config(places), tokenizer=str(path))
    prepare_corpus(fixed, places / "cache", told.append)
    other = replace(config(places, web=0.5, code=0.5, news=0.0), tokenizer=str(path))
    assert prepare_corpus(other, places / "cache", told.append).corpus_id != corpus.corpus_id
    assert told == []


def test_a_config_survives_json(places: Path) -> None:
    known = config(places)
    assert DataConfig.from_dict(json.loads(json.dumps(asdict(known)))) == known


def test_text_and_token_files_mix_under_one_tokenizer(places: Path, tmp_path: Path, corpus: Corpus) -> None:
    path = next((places / "cache" / "corpora").glob("*-tokenizer/tokenizer.json"))
    model = hf.Tokenizer.from_file(str(path))
    end = model.token_to_id(SEPARATOR)
    rows = [json.loads(line)["text"] for line in (places / "code" / "rows.jsonl").read_text().splitlines()]
    (tmp_path / "shards").mkdir()
    docs = [np.append(model.encode(row).ids, end) for row in rows]
    token_files.raw(tmp_path / "shards" / "a.bin", docs)
    sources = (
        source("web", path=str(places / "web"), weight=2),
        source("shards", path=str(tmp_path / "shards"), weight=1, eval_fraction=0.1),
    )
    assert [each.kind for each in sources] == ["text", "tokens"]
    found = prepare_corpus(replace(config(places), tokenizer=str(path), sources=sources), places / "cache")
    assert isinstance(found.train, Mixture)
    assert found.tokenizer_id == corpus.tokenizer_id
    order = order_of(found.train, 32, 3, 0)
    batch = order.batch(found.train, 0)  # type: ignore[arg-type]
    assert batch.shape == (3, 33)
    assert found.report["sources"]["shards"]["bytes_per_token"] is not None


def test_every_source_is_scored_and_the_loss_weighs_them(corpus: Corpus) -> None:
    found = eval_set(corpus, 32, 32 * 40)
    web, code, news = found.parts
    # 70 % and 30 % of 40 windows; a source that is only scored has a quarter of an equal part.
    assert (web.last - web.first, code.last - code.first, news.last - news.first) == (28, 12, 4)
    assert len(found.windows) == news.last
    assert found.n_bytes == sum(part.n_bytes or 0 for part in found.parts)
    for part, own in zip(found.parts, corpus.parts, strict=True):
        assert set(np.unique(found.windows[part.first : part.last])) <= set(np.unique(own.eval))
    # A source with little held-out text gives what it has.
    everything = eval_set(corpus, 32, 10**9)
    assert everything.parts[2].last - everything.parts[2].first == (len(corpus.parts[2].eval) - 1) // 32


def test_a_source_too_small_for_its_weight_says_what_to_change(corpus: Corpus) -> None:
    assert isinstance(corpus.train, Mixture)
    web = len(corpus.train.streams[0])
    enough = int(4 * web / 0.7 * 0.98)
    check_size(corpus, enough, 4.0, 32)
    with pytest.raises(InputError) as caught:
        check_size(corpus, 2 * enough, 4.0, 32)
    text = str(caught.value)
    assert f"reads the {web:,} training tokens of data.sources.web 7." in text
    assert "at most 4 are allowed: lower its share from 0.7 to 0.36" in text
    parts = tuple(replace(part, max_epochs=9.0) for part in corpus.parts)
    check_size(replace(corpus, parts=parts), 2 * enough, 4.0, 32)
    note = mixture_note(corpus, enough, 32)[0]
    assert "web 70.0%" in note
    assert "news is scored and never trained on" in note


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"web": 0.0, "code": 0.0}, "the weights of data.sources sum to 0"),
        ({"web": -1.0, "code": 2.0}, "data.sources.web.weight=-1 is no share"),
        ({"web": 1.0, "code": 1e-7}, "data.sources.code.weight is 1e-07 of all, expected at least 1/100,000"),
    ],
)
def test_weights_that_no_mixture_has(
    places: Path, tmp_path: Path, weights: dict[str, float], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        prepare_corpus(config(places, **weights), tmp_path)


def test_faults_name_their_source(places: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.sources is empty: name the sources"):
        prepare_corpus(DataConfig("mixture", 320), tmp_path)
    with pytest.raises(InputError, match=r"data\.sources\.a\.path is missing"):
        source("a")
    with pytest.raises(InputError, match=r"data\.sources\.a\.path=.*does not exist"):
        source("a", path=str(tmp_path / "nowhere"))
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "a.txt").write_text("text")
    token_files.raw(tmp_path / "both" / "b.bin", token_files.documents(0, 3))
    with pytest.raises(InputError, match=r"holds text \(a.txt\) and tokens \(b.bin\): set kind: text"):
        source("a", path=str(tmp_path / "both"))
    shards = source("shards", path=str(tmp_path / "both"), kind="tokens")
    with pytest.raises(InputError, match=r"sources\.shards has tokens, and data\.tokenizer=bpe makes others"):
        prepare_corpus(replace(config(places), sources=(shards,)), tmp_path)
    plain = replace(config(places), tokenizer="none")
    with pytest.raises(InputError, match=r"sources\.web is text, which data\.tokenizer=none cannot encode"):
        prepare_corpus(plain, tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.jsonl").write_text('{"body": "no text here"}\n')
    empty = replace(config(places), tokenizer="bytes", vocab_size=257)
    empty = replace(empty, sources=(source("empty", path=str(tmp_path / "empty")),))
    with pytest.raises(InputError, match=r"^data\.sources\.empty: no usable text"):
        prepare_corpus(empty, tmp_path)


def test_a_benchmark_is_looked_for_in_the_sources_that_are_trained_on(
    places: Path, corpus: Corpus, tmp_path: Path
) -> None:
    known = config(places)
    rows = {
        name: [json.loads(line)["text"] for line in (places / name / "rows.jsonl").read_text().splitlines()]
        for name in ("web", "code", "news")
    }
    items = [" ".join(text.split()[20:60]) for name in rows for text in rows[name][:30]]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps({"text": item}) + "\n" for item in items))
    read = read_items(str(tmp_path / "items.jsonl"), known)
    found = with_contamination(corpus, read, places / "cache").report["contamination"]
    assert found["items"] == 90
    # Those of web and code that are not held out; none of news, which is never trained on.
    assert 40 <= found["found"] < 60
    assert {each["text"][0] for each in found["examples"]} <= {"w", "c"}


def test_the_same_texts_under_another_tokenizer_are_other_tokens(places: Path, corpus: Corpus) -> None:
    """What is cached of a mixture is of its tokens, whose texts may be those of another one."""
    plain = replace(config(places), tokenizer="bytes", vocab_size=257)
    found = prepare_corpus(plain, places / "cache")
    assert (found.vocab_size, found.tokenizer_id) != (corpus.vocab_size, corpus.tokenizer_id)
    assert found.corpus_id == corpus.corpus_id
    assert int(found.eval.max()) < 257
    assert len(found.eval) == sum(len(part.eval) for part in found.parts) > len(corpus.eval)
    assert found.unigram_nats != corpus.unigram_nats
    again = prepare_corpus(config(places), places / "cache")
    np.testing.assert_array_equal(again.eval, corpus.eval)


def test_what_the_sources_are_called_and_allowed_is_not_cached(places: Path, corpus: Corpus) -> None:
    known = config(places)
    sources = tuple(replace(each, max_epochs=7.0) for each in known.sources)
    path = next((places / "cache" / "corpora").glob("*-tokenizer/tokenizer.json"))
    found = prepare_corpus(replace(known, sources=sources, tokenizer=str(path)), places / "cache")
    assert found.corpus_id == corpus.corpus_id
    assert found.report["sources"]["web"]["max_epochs"] == 7
    assert [part.max_epochs for part in found.parts] == [7, 7, 7]
