"""`python -m harness.bench` on tiny rungs: its figures fit together; no speed is asserted."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from harness.bench import __main__ as bench
from harness.bench.__main__ import main, print_tables, rungs_of, settings_of, spec_of
from harness.bench.__main__ import parser as command_line
from harness.bench.rung import MATMUL, STEP, TEXTBOOK, RungJob, data_sheet_share, figures, spread, take_turns
from harness.grid.rules import Rung
from harness.recipe import counting
from harness.track.console import plain_console
from tests import ROOT, preloaded
from tests.quick_compilation import FLAGS

TINY = ["--seq-len", "16", "--vocab", "32", "--batch-tokens", "32", "--seconds", "0.01", "--repeats", "1"]
TINY += ["model.n_layers=1"]


def spec(*arguments: str) -> Any:
    return spec_of(Rung(16, 1), settings_of(command_line().parse_args([*TINY, *arguments])).settings)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Figures of one rung beside the textbook kernels, through the command."""
    out = tmp_path_factory.mktemp("bench") / "bench.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLA_FLAGS", FLAGS)
        patch.setattr(subprocess, "Popen", preloaded.Popen)
        assert main([*TINY, "--rungs", "16", "--compare", "textbook", "--json", str(out)]) == 0
    return json.loads(out.read_text())  # type: ignore[no-any-return]


def test_the_command_writes_every_figure(tiny: dict[str, Any]) -> None:
    assert {"schema", "seconds", "repeats", "provenance", "rungs"} == tiny.keys()
    row = tiny["rungs"][0]
    assert row["rung"] == "d16"
    assert (row["n_layers"], row["batch_tokens"], row["micro_batch_tokens"]) == (1, 32, 32)
    assert row["n_params"] == counting.n_params(spec().model)
    assert row["peak_bytes"] > 50e6
    assert row["compile_seconds"]["median"] > 0


def test_the_figures_of_a_rung_fit_together(tiny: dict[str, Any]) -> None:
    row = tiny["rungs"][0]
    assert row["flops_per_token"] == counting.train_flops_token(spec().model)
    for end in ("median", "min", "max"):
        expected = row["tokens_per_second"][end] * row["flops_per_token"]
        assert row["flops_per_second"][end] == pytest.approx(expected)
    step, matmul = row["flops_per_second"], row["matmul_flops_per_second"]
    low, high = step["min"] / matmul["max"], step["max"] / matmul["min"]
    assert low <= row["share_of_peak"]["min"] <= row["share_of_peak"]["max"] <= high
    textbook = row["compare"][TEXTBOOK]
    assert textbook["ratio"]["min"] <= textbook["ratio"]["median"] <= textbook["ratio"]["max"]


def test_shares_and_ratios_are_taken_within_a_turn() -> None:
    """A machine that halves its speed for one turn changes no ratio."""
    slow = np.array([1.0, 0.5, 1.0])
    rates = {STEP: 30.0 * slow, MATMUL: 1e6 * slow, TEXTBOOK: 10.0 * slow}
    row = figures(spec(), rates)
    assert row["compare"][TEXTBOOK]["ratio"] == spread([3.0, 3.0, 3.0])
    assert row["share_of_peak"]["min"] == row["share_of_peak"]["max"]
    assert row["tokens_per_second"] == {"median": 30.0, "min": 15.0, "max": 30.0}


def test_the_share_of_a_data_sheet_is_what_a_plan_takes(capsys: pytest.CaptureFixture[str]) -> None:
    steps = 1e6 * np.array([1.0, 2.0, 3.0])
    assert data_sheet_share(spec(), steps, "cpu") is None
    found = data_sheet_share(spec(), steps, "NVIDIA L4")
    assert found is not None
    flops = counting.train_flops_token(spec().model)
    assert (found["device"], found["peak"]) == ("l4", 60e12)
    assert found["mfu"]["median"] == pytest.approx(2e6 * flops / 60e12)
    row = figures(spec(), {STEP: steps, MATMUL: steps})
    row |= {"rung": "d16", "n_params": 1, "compile_seconds": spread([1.0]), "peak_bytes": 1, "torch": None}
    row |= {"device": "NVIDIA L4", "batch_tokens": 32, "data_sheet": found}
    print_tables(plain_console(200), [row])
    said = " ".join(capsys.readouterr().out.split())
    assert "of the 60 TFLOP/s that the data sheet of one l4 promises" in said
    assert f"plan.mfu={found['mfu']['median']:.2g}" in said


def test_contestants_take_turns_in_alternating_order() -> None:
    asked: list[str] = []

    class Named:
        def __init__(self, name: str):
            self.name = name

        def rate(self, seconds: float) -> float:
            asked.append(self.name)
            return seconds

    rates = take_turns({"a": Named("a"), "b": Named("b")}, 0.5, 3)
    assert "".join(asked) == "abbaab"
    assert rates["a"].tolist() == [0.5] * 3


def test_a_job_survives_the_way_to_its_process() -> None:
    job = RungJob(spec("model.mlp=swiglu"), 0.5, 3, ("textbook", "torch"), "python")
    assert RungJob.from_line(job.to_line()) == job


def test_the_configuration_of_a_sweep_is_what_is_timed() -> None:
    arguments = command_line().parse_args(["--batch-tokens", "1024", "optim.beta2=0.95"])
    settings = settings_of(arguments).settings
    assert settings.optim.batch_size == 8
    assert settings.optim.beta2 == 0.95
    widths = [rung.d_model for rung in rungs_of(arguments.rungs, settings)]
    assert widths == [16, 32, 48, 64, 96, 128]


def test_a_context_takes_along_what_it_does_in_a_sweep() -> None:
    """By the option as by the key; a note says so unless the batch was given too."""
    angles = "model.seq_len=256 takes along model.rope_theta=441.6 (200 at 128)"
    batch = "optim.batch_size=2 (512 tokens, as at 128)"
    for given in (["--seq-len", "256"], ["model.seq_len=256"]):
        found = settings_of(command_line().parse_args(given))
        assert found.notes == (f"{angles} and {batch}; what is given stays",)
        assert found.settings.optim.batch_size == 2
    found = settings_of(command_line().parse_args(["--seq-len", "256", "--batch-tokens", "1024"]))
    assert found.notes == (f"{angles}; what is given stays",)
    assert found.settings.optim.batch_size == 4
    long = settings_of(command_line().parse_args(["--seq-len", "131072"])).settings
    assert (long.model.seq_len, long.optim.batch_size) == (131_072, 1)


def test_the_notes_stand_before_the_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "results", lambda *_: iter(()))
    monkeypatch.setattr(bench, "print_tables", lambda console, _: console.print("tables"))
    assert main(["model.seq_len=256"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("note: model.seq_len=256 takes along model.rope_theta=441.6")
    assert last == "tables"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rungs", "16,big"], "--rungs expected values of d_model .* got 'big'; type for example"),
        (["--rungs", "20"], "rung d20: heads of even width .* choose a multiple"),
        (["--batch-tokens", "200"], "expected a multiple of the context 128, got 200; type 128"),
        (["--seconds", "0"], "--seconds expected more than 0, got 0; type"),
        (["--repeats", "0"], "--repeats expected at least 1, got 0; type"),
        (
            ["data=mixture", "data.tokenizer=own.json"],
            "size of the vocabulary was expected, .* --vocab 50304",
        ),
        (["model.mlp=relu"], "model.mlp=relu is not known; use one of gelu, swiglu"),
        (["--json", "/dev/null/bench.json"], "--json expected a folder that exists"),
        (
            ["--compare", "torch", "model.window=8"],
            "torch has a decoder of model.window=null and model.window=8 was given; leave",
        ),
        (["--compare", "torch", "--torch-python", "/no/python"], "needs PyTorch, .* uv sync --extra torch"),
    ],
)
def test_wrong_input_is_one_sentence_before_anything_is_timed(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert re.search(sentence, err)


needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed: uv sync --extra torch"
)


@needs_torch
def test_the_pytorch_decoder_has_our_parameters_and_answers() -> None:
    script = ROOT / "harness" / "bench" / "torch_decoder.py"
    recipe = spec().to_dict() | {"device": "cpu", "variants": ["eager"]}
    lines = [recipe, {"variant": "eager", "seconds": 0.01}]
    done = subprocess.run(
        [sys.executable, str(script)],
        input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True, text=True, check=True,
    )  # fmt: skip
    ready, measured = (json.loads(line) for line in done.stdout.splitlines())
    assert ready["n_params"] == counting.n_params(spec().model)
    assert ready["variants"] == ["eager"]
    assert measured["tokens_per_second"] > 0


@needs_torch
@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
def test_the_pytorch_decoder_computes_our_loss(mlp: str) -> None:
    import jax
    import torch
    from flax import nnx

    from harness.bench.torch_decoder import Decoder as TorchDecoder
    from harness.model.decoder import Decoder

    model = spec(f"model.mlp={mlp}").model
    ours = Decoder(model, nnx.Rngs(0), textbook=True)
    theirs = TorchDecoder(spec(f"model.mlp={mlp}").to_dict()["model"])
    weights = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), nnx.to_pure_dict(nnx.state(ours)))
    block = weights["blocks"][0]
    attention, own = block["attention"], theirs.attentions[0]
    pairs = [
        (theirs.embed.weight, weights["embed"]), (theirs.head.weight, weights["head"]["kernel"].T),
        (own.qkv.weight, attention["qkv"]["kernel"].T), (own.out.weight, attention["out"]["kernel"].T),
        *((getattr(theirs.mlps[0], name).weight, part["kernel"].T) for name, part in block["mlp"].items()),
    ]  # fmt: skip
    with torch.no_grad():
        for mine, given in pairs:
            mine.copy_(given)
    windows = np.random.default_rng(1).integers(model.vocab_size, size=(3, model.seq_len + 1))
    expected = float(ours.losses(jax.numpy.asarray(windows)).mean())
    assert float(theirs(torch.tensor(windows))) == pytest.approx(expected, rel=1e-5)
