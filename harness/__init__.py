"""From a grid to finished training runs and their tables; the analysis is called once, at the end.

`import harness` also loads what was trained: the names of `__all__`, each loaded when it is first used.
`harness.load_run("results/chinchilla", "d64")` returns a model with its parameters, recipe and tokenizer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.data.text.tokenizer import Tokenizer
    from harness.model.decoder import Decoder
    from harness.recipe.spec import ModelSpec, RunSpec
    from harness.records.errors import InputError
    from harness.weights.run import TrainedRun, load_run

else:  # Hidden from type checkers, which would take every misspelt name for one that exists.

    def __getattr__(name: str) -> Any:
        """Import a public name when it is first used (PEP 562), so that `import harness` costs nothing."""
        if name not in __all__:
            raise AttributeError(f"module 'harness' has no attribute {name!r}")
        found = globals()[name] = _load(name)
        return found


__all__ = ["Decoder", "InputError", "ModelSpec", "RunSpec", "Tokenizer", "TrainedRun", "load_run"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _load(name: str) -> Any:
    """Return the object of a public name; plain imports, which readers and type checkers can follow."""
    match name:
        case "Tokenizer":
            from harness.data.text import tokenizer

            return tokenizer.Tokenizer
        case "Decoder":
            from harness.model import decoder

            return decoder.Decoder
        case "InputError":
            from harness.records import errors

            return errors.InputError
        case "ModelSpec" | "RunSpec":
            from harness.recipe import spec

            return getattr(spec, name)
        case _:
            from harness.weights import run

            return getattr(run, name)
