"""Rows of points.parquet before anything is measured: identity, sizes, compute and recipe of a cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.recipe import counting
from harness.recipe.spec import RunSpec
from harness.records.columns import OF_SOURCE
from harness.records.provenance import code_revision
from harness.records.run_files import RunStatus

# Key of a point's file: the losses of the sources of a mixture, and what of each was read. Of a part of a
# trunk's curve: a column with the losses as JSON.
SOURCES = "sources"


def point_row(spec: RunSpec, n_tokens: int) -> dict[str, Any]:
    """Return the columns of an end point that need no training: identity, sizes, compute and recipe."""
    model = spec.model
    return {
        "run_id": spec.run_id,
        "trunk_id": spec.run_id,
        "point_id": spec.point_id(n_tokens),
        "rung": spec.rung,
        "seed": spec.seed,
        "n_layers": model.n_layers,
        "d_model": model.d_model,
        "n_params": counting.n_params(model),
        "n_params_matmul": counting.n_params_matmul(model),
        "n_params_body": counting.n_params_body(model),
        "n_tokens": n_tokens,
        "flops": counting.train_flops(model, n_tokens),
        "flops_6nd": counting.train_flops_6nd(model, n_tokens),
        **spec.optim.lr.to_dict(),
        "batch_tokens": spec.batch_tokens,
        "n_steps": spec.n_steps(n_tokens),
        "schedule": spec.schedule.kind,
        "cooled": True,
        "code_revision": code_revision(),
        "corpus_id": spec.data.corpus_id,
        "tokenizer_id": spec.data.tokenizer_id,
        "vocab_size": model.vocab_size,
        "unigram_nats": spec.data.unigram_nats,
    }


def unmeasured(spec: RunSpec, n_tokens: int, status: RunStatus, reason: str) -> dict[str, Any]:
    """Return the row of an end point that was not reached, with the reason why fits leave it out."""
    measured = dict.fromkeys(("loss", "loss_sem", "loss_blocks", "bits_per_byte"))
    return (
        point_row(spec, n_tokens)
        | measured
        | {
            # Not measured either: an upper bound, since the column has no missing values.
            "n_unique_tokens": n_tokens,
            "status": status.value,
            "excluded_reason": f"{status}: {reason}",
        }
    )


def source_rows(point: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of evals.parquet on the sources of a mixture.

    Args:
        point: content of a point's file, or a row of a trunk's curve; None gives no row.
    """
    for found in (point or {}).get(SOURCES, ()):
        shared = {key: point[key] for key in ("run_id", "point_id", "n_tokens")} if point else {}
        shared |= {"task": found["source"], "length": 0, "n_shot": 0, "split": OF_SOURCE}
        shared |= {"n_items": found["n_windows"]}
        yield shared | {"metric": "loss", "value": found["loss"], "sem": found["loss_sem"]}
        if found["bits_per_byte"] is not None:
            yield shared | {"metric": "bits_per_byte", "value": found["bits_per_byte"]}
        # What a run on the way has read is not written down.
        if "n_unique_tokens" in found:
            yield shared | {"metric": "n_unique_tokens", "value": float(found["n_unique_tokens"])}
