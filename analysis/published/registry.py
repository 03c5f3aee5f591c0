"""Registry of the published data sets: source, licence, SHA-256, columns and published numbers.

A set is either downloaded from its source at a pinned commit, or it is a *prepared table*. The source of a
prepared table is a pickle, a folder of JSON files, a log or a page of a paper, and the table was made from it
once. It has no URL and is used only if a folder holds it. The repository contains no data file.
"""

from __future__ import annotations

import difflib

from analysis.published.dataset import DataFile, DataSet
from analysis.published.papers import printed
from harness.records.errors import InputError

RAW = "https://raw.githubusercontent.com"
GEMSTONES_COMMIT = "5f420478f6057b0cbb4d13405fb10ca64675bccb"
OBSSCALING_COMMIT = "4d6e1e43fd2635d04654aa77d1df9d5266ea0382"

# Curves by size in million parameters and schedule.
MPL_CURVES = {
    "csv_25/constant_24000.csv": "2be6b6996b6020e2bd6f0e1a8a734fb88c7d6c454566a2908443dce66622e09e",
    "csv_25/constant_72000.csv": "1dec7b579f9e73bf2f2aafae00928845216d8fde51ff40a75421fdd6f2261261",
    "csv_25/cosine_24000.csv": "dcfd6921202348eea88caa2d67a564e1c09fe905735e0cfa3c9bbcd38ca1ae15",
    "csv_25/cosine_72000.csv": "d487f7d3818a5d0af2a473eb327d0f9f97f6e4d5f498914b7938e0eb2561d66e",
    "csv_25/wsd_20000_24000.csv": "f0c29d5d6510811ed0749854dfc0e2342a3285ea9282283a4888d7dd4a9e6a33",
    "csv_25/wsdcon_18.csv": "6c9aabb1c31f86561ff3a962f1c47c18540d655d8c21e48e40295c3e76fed553",
    "csv_25/wsdcon_3.csv": "c26aa9e7cedba078626c11e05bbf5ac0c5754a8277c41448c14f4968e08c06b2",
    "csv_25/wsdcon_9.csv": "ed7f9e65c736a902e1bd51cd0f1aa990a1e328965140ea4e75b5238217cc64d5",
    "csv_25/wsdld_20000_24000.csv": "8ded478ccdbca79f8befd5b837aafba0eb62de1fa648cae919a3b4d28c824242",
    "csv_100/constant_24000.csv": "9ab3f254f7b3e68c2c7f682148aac764d53d30130d675cffb9336f0bb88c6662",
    "csv_100/constant_72000.csv": "b1b1c42317c93b5d6996199e7e07ed77e6fb6988c88487216d0f855f7741a30b",
    "csv_100/cosine_24000.csv": "77c818e3d003bc635494467d6c1acf5bb8a04cf8b306ac03cbf9f5bc2717f721",
    "csv_100/cosine_72000.csv": "dbd6b5b846498abb8a285850d41fecacb5ca06ecd9791790755845542a4ea949",
    "csv_100/wsd_20000_24000.csv": "4adec144ba14331227173d145c6f84e5e7ec5209749f445a983b66f401f4f861",
    "csv_100/wsdcon_18.csv": "0e301706b64d53404a9177532fa227febca5fc8e75ee263f5d979dff65a26e3a",
    "csv_100/wsdcon_3.csv": "0b131718adb5ab04a65aedac3bbdf080563cbda09cf4bcb4d3296a43f2c61465",
    "csv_100/wsdcon_9.csv": "c03873937034fcbc1f1020fa8da398c5908f849dc9f95a02783e34e1772157ab",
    "csv_100/wsdld_20000_24000.csv": "89397da448863c43595f3564ac730a2de2d7fb5ee9137608020f9d47d47f826e",
    "csv_400/constant_24000.csv": "52ff143571d29a8a6ada564f52e076c1423df8030fbe10f05f0d5596044df05e",
    "csv_400/constant_72000.csv": "d7902c6cb77da6edd4663165f5e57bad3b2bbf105f590ad26c117a2698cd1991",
    "csv_400/cosine_24000.csv": "904ef63412854fff408fe4dabc9dc65c20fd825752657370ec9e17016afeffa5",
    "csv_400/cosine_72000.csv": "feb0fe2a45b4573f680ba589136bfa2a0de08abf768f5446dfda65bd0a51f060",
    "csv_400/wsd_20000_24000.csv": "4e0369188a751f0499afeee7cb38992ff80db95cf7ad476ab9d5a41f3a85b10f",
    "csv_400/wsdcon_18.csv": "e46b9e241429beb3c29ef75bc3ba66f9002694ce588ca6d0c757782dede1f66b",
    "csv_400/wsdcon_3.csv": "34805d34d0d681d3e9fe83d695ef536b8d2613f6d2f3d70861d2cd90a9323886",
    "csv_400/wsdcon_9.csv": "b8f64ed4b0022e995a85369859c030d49e49c2eb0d6eb5c37a3a01c015880bf8",
    "csv_400/wsdld_20000_24000.csv": "ead15e3eb1799b2763355bf940425b006b09a77750d18a5d7321fc90630cedc2",
}

SETS: tuple[DataSet, ...] = (
    DataSet(
        name="epoch_chinchilla",
        title="245 runs of Hoffmann et al. 2022, read off their figure 4 by Besiroglu et al. 2024",
        reference="arXiv:2404.10102",
        source="epoch-research/analyzing-chinchilla, copied in "
        f"mcleish7/gemstone-scaling-laws @{GEMSTONES_COMMIT[:7]}",
        licence="MIT",
        files=(
            DataFile(
                "svg_extracted_data.csv",
                "193478df4e90f040016431996c45682659306840ecdadf83cfb9cd5ca0aa1b30",
                (
                    f"{RAW}/mcleish7/gemstone-scaling-laws/{GEMSTONES_COMMIT}"
                    "/data/epoch_chinchilla_svg_extracted_data.csv",
                    f"{RAW}/epoch-research/analyzing-chinchilla/92258837425e1b5f2851d624287f0120583a3d0e"
                    "/data/svg_extracted_data.csv",
                ),
            ),
        ),
        columns={
            "[xy]": "points of the figure",
            "*color": "colour of the point in the figure",
            "Model Size": "N, all parameters",
            "Training FLOP": "C = 6·N·D, FLOPs",
            "loss": "nats per token",
        },
        published=printed.EPOCH,
    ),
    DataSet(
        name="porian2024_refinedweb",
        title="IsoFLOP runs on RefinedWeb from Kaplan's exponent to Chinchilla's, Porian et al. 2024",
        reference="arXiv:2406.19146",
        source="formll/resolving-scaling-law-discrepancies @0dc60d9",
        licence="MIT",
        files=(
            DataFile("isoflops.csv", "4ffebc2674d4f8b4dc9fe699f0c88d96170d56b885020fa78a172cd389ab9047"),
            DataFile(
                "exponents_published.csv", "c706b5985a37d2d223f9975fa60f77efee54cc303e0ee0bea20a12593225a0f8"
            ),
        ),
        columns={
            "config": "data, tuning, warm-up, schedule, counting and loss, joined by hyphens",
            "param_count": "kaplan: without head and embedding; standard: with the last layer",
            "flops": "C = 6·n·t, FLOPs",
            "n": "N, parameters under param_count",
            "t": "D, tokens",
            "loss": "nats per token",
            "*": "one part of config",
        },
        prepared="flattened from the pickles of the repository; the exponents are those of its summaries",
    ),
    DataSet(
        name="gadre2024",
        title="104 over-trained models on C4, RedPajama and RefinedWeb, Gadre et al. 2024",
        reference="arXiv:2403.08540",
        source="mlfoundations/scaling @a003c49",
        licence="MIT",
        files=(
            DataFile("runs.csv", "aec5c90b40f4a47255cd42b5466f9787717ef70ca5a409b896907ed06db84fe2"),
            DataFile("eval_metadata.csv", "8cd5243244a6890c8cec31cf7752901131f1da479b3c4920e37eb65ad608089c"),
        ),
        columns={
            "name": "run",
            "dataset": "training corpus",
            "model": "shape",
            "N": "all parameters",
            "N_no_embed": "parameters without embedding",
            "D": "tokens",
            "chinchilla_multiplier": "D/(20·N)",
            "lr": "learning rate",
            "warmup": "steps",
            "loss_*": "nats per token on an evaluation set, with 95 % limits lo95 and hi95",
            "acc_*": "accuracy on a task, share",
        },
        published=printed.GADRE,
        prepared="flattened from the JSON files of the repository",
    ),
    DataSet(
        name="nanochat_isoflop",
        title="12 IsoFLOP optima of the same runs under three parameter counts, Karpathy",
        reference="github.com/karpathy/nanochat dev/LOG.md",
        source="karpathy/nanochat @92d63d4",
        licence="MIT",
        files=(DataFile("optima.csv", "d1282185dbb606d087f6d62ff962c93c6ee193dceb936c277123159178679b27"),),
        columns={
            "accounting": "kaplan_style: matrices and head, chinchilla_style: all, transformer_only: body",
            "flops": "C, FLOPs",
            "N_opt": "best parameters at C",
            "D_opt": "best tokens at C",
            "ratio": "D_opt/N_opt",
            "val_bpb": "bits per byte",
        },
        published=printed.NANOCHAT,
        prepared="transcribed from the log",
    ),
    DataSet(
        name="cerebras_gpt",
        title="7 models at 20 tokens per parameter, Dey et al. 2023",
        reference="arXiv:2304.03208",
        source="model card and paper of Cerebras-GPT",
        licence="Apache-2.0",
        files=(
            DataFile("cerebras_gpt.csv", "5d9d7bf5d753ca6c98b77f65e1e8988d506f73fdc1beacccce9609bab3c9e362"),
        ),
        columns={
            "model": "name",
            "params": "N, all parameters",
            "tokens": "D",
            "train_flops": "C by their own count, FLOPs",
            "pile_test_xent_card": "nats per token, model card",
            "pile_test_xent_paper": "nats per token, paper",
            "downstream_avg": "mean of the accuracies, share",
            "*": "zero-shot accuracy on a task, share",
        },
        published=printed.CEREBRAS,
        prepared="transcribed from the model card and the paper",
    ),
    DataSet(
        name="gemstones",
        title="22 models × 35 checkpoints of many shapes, McLeish et al. 2025",
        reference="arXiv:2502.06857",
        source=f"mcleish7/gemstone-scaling-laws @{GEMSTONES_COMMIT[:7]}",
        licence="MIT",
        files=(
            DataFile(
                "gemstones_evals.csv", "bb711a3d92090d00d38e61a5925cfa8140b569b31bd23fa09087476db37495ba"
            ),
        ),
        columns={
            "model": "name",
            "N_active": "N, all parameters",
            "width": "d_model",
            "depth": "layers",
            "step": "optimiser steps",
            "tokens": "D",
            "taskloss_*": "nats, loss of the right answer of a task",
            "*_loss": "nats per token on a corpus",
            "acc_*": "accuracy on a task, share",
        },
        published=printed.GEMSTONES,
        prepared="flattened from the JSON and parquet files of the repository",
    ),
    DataSet(
        name="pearce2024",
        title="Body parameters under the Chinchilla law in all parameters, Pearce & Song 2024",
        reference="arXiv:2406.12907",
        source="constants in the paper",
        licence="facts",
        published=printed.PEARCE,
    ),
    DataSet(
        name="mpl_curves",
        title="27 loss curves of 3 sizes under 9 learning-rate schedules, Luo et al. 2025",
        reference="arXiv:2503.12811",
        source="Morphorxz/dlt25-final @055a79b, a fork of thu-yao-01-luo/MultiPowerLaw",
        licence="MIT",
        files=tuple(DataFile(name, sha256) for name, sha256 in MPL_CURVES.items()),
        columns={"step": "optimiser steps", "lr": "learning rate of the step", "loss": "nats per token"},
        published=printed.MULTI_POWER,
        prepared="copied from the repository",
    ),
    DataSet(
        name="pythia_evals",
        title="672 evaluations of 8 sizes × 27 checkpoints, Biderman et al. 2023",
        reference="arXiv:2304.01373",
        source="EleutherAI/pythia @a19eecb",
        licence="Apache-2.0",
        files=(
            DataFile(
                "pythia_v1_evals.csv", "0dfead774a8d144d6cc9381a2f9b05dcd5aaae64157fd4090b4b3c053b6c3e10"
            ),
        ),
        columns={
            "size": "name",
            "deduped": "1 if trained on the deduplicated Pile",
            "bf16": "1 if trained in bfloat16",
            "shots": "examples in the prompt",
            "step": "optimiser steps",
            "N": "all parameters",
            "N_no_embed": "parameters without embedding",
            "tokens": "D",
            "*.ppl": "perplexity, e to the nats per token",
            "*.acc*": "accuracy on a task, share, with its standard error",
        },
        published=printed.PYTHIA,
        prepared="flattened from the JSON files of the repository",
    ),
    DataSet(
        name="obsscaling_emergent",
        title="84 base models on tasks called emergent, Ruan et al. 2024",
        reference="arXiv:2405.10938",
        source=f"ryoungj/ObsScaling @{OBSSCALING_COMMIT[:7]}",
        licence="Apache-2.0",
        files=(
            DataFile(
                "base_llm_emergent_capability_eval.csv",
                "a156beee73c39b7833c3c53535c473939105512d85e90b0143be7325e516ef7c",
                (
                    f"{RAW}/ryoungj/ObsScaling/{OBSSCALING_COMMIT}/eval_results/base_llm_emergent_capability_eval.csv",
                ),
            ),
            DataFile(
                "base_llm_benchmark_eval.csv",
                "511996815735a4c46251dc585dcc525e370d148201f86561e6f927f9df2d0db8",
                (f"{RAW}/ryoungj/ObsScaling/{OBSSCALING_COMMIT}/eval_results/base_llm_benchmark_eval.csv",),
            ),
        ),
        columns={
            "Model": "name, which joins the two files",
            "*_acc": "accuracy, share",
            "*_exact_match": "exact match, share",
            "*_bleu": "BLEU, percent",
            "Model Family": "name",
            "Model Size (B)": "1e9 parameters",
            "Pretraining Data Size (T)": "1e12 tokens",
            "FLOPs (1E21)": "C, 1e21 FLOPs",
            "*": "accuracy on a benchmark, share",
        },
    ),
    DataSet(
        name="gpt3_emergence",
        title="8 sizes of GPT-3, Brown et al. 2020",
        reference="arXiv:2005.14165, table H.1",
        source="table H.1 of the paper",
        licence="facts",
        files=(
            DataFile(
                "gpt3_zero_shot.csv", "85075888bd7b381d3622508bdcc7e057e2775624868437ae9165e03098966dbc"
            ),
        ),
        columns={
            "model": "name of the size",
            "params": "N",
            "train_flops": "C, FLOPs",
            "lambada_ppl": "perplexity, zero-shot",
            "*": "accuracy on a task, share",
        },
        prepared="transcribed from the paper",
    ),
)


def find_set(name: str) -> DataSet:
    """Return the set called `name`; raises InputError that lists the sets and suggests the nearest."""
    known = {each.name: each for each in SETS}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise InputError(f"there is no published set called {name!r}{hint}: use one of {', '.join(known)}")
