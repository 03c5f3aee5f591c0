"""Check of typed values against the schema, before OmegaConf sees them: one sentence for each mistake."""

from __future__ import annotations

import math
import types
import typing
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Union

from harness.records.errors import InputError

TRUE, FALSE = {"true", "yes", "on", "y", "1"}, {"false", "no", "off", "n", "0"}
# No count or seed needs more digits, and larger integers overflow a float.
MAX_INTEGER = 2**63
# Products of a few settings stay far below the largest float.
MAX_NUMBER = 1e60
NO_VALUE = "???"  # as OmegaConf writes a key that still needs one
# A value with more levels was never meant, and would end in Python's own limit.
MAX_DEPTH = 12
MAX_SHOWN = 160
EXAMPLES = {
    "grid.rungs": "[16,32], or [16,{d_model: 32, n_layers: 4, n_heads: 2}]",
    "grid.ladder": "{n_params_body: [2e6,8e6,3.2e7], aspect: 32, head_dim: 64}",
    "grid.n_tokens": "[65536,131072]",
    "grid.seeds": "[0,1]",
    "grid.fit_seeds": "[1,2]",
    "grid.tokens_per_param": "[10,20,40]",
    "grid.flops": "[1e12,1e13]",
    "grid.extra": "[{d_model: 16, n_tokens: [65536], seeds: [1,2]}]",
    "grid.cells": "[{d_model: 16, n_tokens: [65536], seeds: [1,2], role: fit}]",
    "grid.references": "[{d_model: 16, n_tokens: 65536, lr_scale: [0.5,1.0,2.0], seeds: [0]}]",
    "grid.arms": "{base: {}, swiglu: {model.mlp: swiglu}}",
    "grid.lr_scale": "{hidden: [0.5,1.0,2.0]}",
    "data.packages": "[stdlib,numpy]",
    "data.sources": "{web: {path: FOLDER, weight: 0.7}, code: {path: FOLDER, weight: 0.3}}",
    "sinks": "[tensorboard]",
    "launcher.resources": "{TPU: 4}",
}


def shown(value: Any) -> str:
    """Return a value as typed or as Python shows it, cut if it is long."""
    text = value if isinstance(value, str) else typed(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def typed(value: Any) -> str:
    """Return a value in the notation of the command line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {typed(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(typed, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        return f"an integer of {value.bit_length()} bits"
    return str(value)


@cache
def kinds(kind: type) -> dict[str, Any]:
    """Return the type of every field of a settings dataclass, by name."""
    return typing.get_type_hints(kind)


def kind_of(key: str, root: type) -> Any:
    """Return the type of a dotted key; Any below a mapping whose keys the user chooses, None if unknown."""
    kind: Any = root
    for name in key.split("."):
        kind = _given(kind)
        if kind is Any:
            return Any
        if typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
        elif is_dataclass(kind) and name in kinds(typing.cast(type, kind)):
            kind = kinds(typing.cast(type, kind))[name]
        else:
            return None
    return kind


def is_text(kind: Any) -> bool:
    """Return whether a key holds text."""
    return _given(kind) is str


def is_list(kind: Any) -> bool:
    """Return whether a key holds a list."""
    return typing.get_origin(_given(kind)) is list


def check_value(key: str, kind: Any, value: Any, typed: str | None = None) -> None:
    """Raise InputError unless a value fits the type of its key.

    Args:
        key: dotted name of the key.
        kind: its type in the schema.
        value: the value, of plain Python types.
        typed: text that the user typed for it; None shows the value.
    """
    why = _misfit(kind, value, 0)
    if why:
        given = shown(value if typed is None else typed)
        raise InputError(f"{key}={given} does not fit: {why}{_example(key, kind, value)}")


def misfit(key: str, kind: Any, typed: str, hint: str) -> InputError:
    """Return the error for a text that is no value, with a hint on what to type."""
    example = f", such as {EXAMPLES[key]}," if key in EXAMPLES else ""
    # A number or a word has neither brackets nor quotes.
    is_simple = _given(kind) in (int, float, bool) and "type " not in hint
    end = "" if is_simple else f"; {hint}"
    return InputError(f"{key}={shown(typed)} does not fit: {_expected(kind)}{example} was expected{end}")


def converted(kind: Any, value: Any) -> Any:
    """Return a value that fits its type as just that type, such as the float of a whole number.

    NO_VALUE stays as it is, for the schema to name its key.
    """
    plain = _given(kind)
    if value is None or plain is Any or value == NO_VALUE:
        return value
    origin = typing.get_origin(plain)
    if origin is list:
        (each,) = typing.get_args(plain)
        return [converted(each, entry) for entry in value]
    if origin is dict:
        return {name: converted(typing.get_args(plain)[1], entry) for name, entry in value.items()}
    if is_dataclass(plain):
        known = kinds(typing.cast(type, plain))
        return {name: converted(known[name], entry) for name, entry in value.items()}
    if plain is bool:
        return value if isinstance(value, bool) else str(value).lower() in TRUE
    return plain(value)


def _given(kind: Any) -> Any:
    """Return a type without None."""
    if typing.get_origin(kind) in (Union, types.UnionType):
        return next(each for each in typing.get_args(kind) if each is not type(None))
    return kind


def _misfit(kind: Any, value: Any, depth: int) -> str | None:
    """Return what was expected in place of a value, and what is wrong with it; None if it fits."""
    if depth > MAX_DEPTH:
        return f"at most {MAX_DEPTH} levels of brackets were expected"
    plain = _given(kind)
    if value is None:
        allowed = plain is not kind or kind is Any
        return None if allowed else f"{_expected(kind)} was expected, and null leaves it without a value"
    origin = typing.get_origin(plain)
    if plain is Any:
        return _misfit_of_anything(value, depth)
    if origin is list:
        return _misfit_of_list(plain, value, depth)
    if origin is dict or is_dataclass(plain):
        return _misfit_of_mapping(plain, value, depth)
    return None if _is_scalar(plain, value) else f"{_expected(plain)} was expected{_because(plain, value)}"


def _misfit_of_list(kind: Any, value: Any, depth: int) -> str | None:
    if not isinstance(value, list):
        return f"{_expected(kind)} was expected"
    (each,) = typing.get_args(kind)
    for entry in value:
        why = _misfit(each, entry, depth + 1)
        if why:
            if isinstance(entry, dict) and is_dataclass(_given(each)):
                return f"in its entry {shown(entry)} {why}"
            return (
                f"{_expected(kind)} was expected, and {shown(entry)} is none of them{_because(each, entry)}"
            )
    return None


def _misfit_of_mapping(kind: Any, value: Any, depth: int) -> str | None:
    if not isinstance(value, dict):
        return f"{_expected(kind)} was expected"
    wrong = [key for key in value if not isinstance(key, str)]
    if wrong:
        return f"names were expected as keys of a mapping, and {shown(wrong[0])} is none"
    if is_dataclass(kind):
        known = kinds(typing.cast(type, kind))
        unknown = [key for key in value if key not in known]
        if unknown:
            return f"its keys are {', '.join(known)}, and {unknown[0]} is none of them"
        lacking = [
            item.name
            for item in fields(kind)
            if item.default is NO_DEFAULT and item.default_factory is NO_DEFAULT and item.name not in value
        ]
        if lacking:
            return f"{' and '.join(lacking)} must be given too"
        entries = [(name, known[name], entry) for name, entry in value.items()]
    else:
        entries = [(name, typing.get_args(kind)[1], entry) for name, entry in value.items()]
    for name, each, entry in entries:
        why = _misfit(each, entry, depth + 1)
        if why:
            return f"{name}: {why}"
    return None


def _misfit_of_anything(value: Any, depth: int) -> str | None:
    """Return why a value below a free mapping cannot be written as JSON; None if it can."""
    if isinstance(value, dict):
        return _misfit_of_mapping(dict[str, Any], value, depth)
    if isinstance(value, list):
        return _misfit_of_list(list[Any], value, depth)
    if isinstance(value, bool | str):
        return None if _is_scalar(str, value) else f"text was expected{_because(str, value)}"
    kind = int if isinstance(value, int) else float
    return None if _is_scalar(kind, value) else f"{_expected(kind)} was expected{_because(kind, value)}"


def _is_scalar(kind: Any, value: Any) -> bool:
    """Return whether a value is of a scalar type, or text that reads as one."""
    if isinstance(value, dict | list):
        return False
    if isinstance(value, str) and ("${" in value or value == NO_VALUE):
        return False
    if kind is bool:
        return isinstance(value, bool) or str(value).lower() in TRUE | FALSE
    if kind is str:
        return True
    if isinstance(value, bool):
        return False
    number = _number(value)
    if kind is int:
        return isinstance(number, int) and abs(number) < MAX_INTEGER
    return number is not None and math.isfinite(number) and abs(number) < MAX_NUMBER


def _number(value: Any) -> int | float | None:
    """Return the number that a value is or reads as; None if it is none, infinity if it has no float."""
    try:
        if isinstance(value, str):
            digits = value.strip().lstrip("+-")
            return int(value) if digits.isdecimal() and len(digits) < 25 else float(value)
        if isinstance(value, int):
            return value if value.bit_length() < 1000 else math.inf
        return value if isinstance(value, float) else None
    except ValueError:
        return None


def _because(kind: Any, value: Any) -> str:
    """Return the end of a sentence on why a scalar does not fit; empty if the value says it."""
    if isinstance(value, str) and "${" in value:
        return ", ${…} is not resolved; type the value itself"
    if value == NO_VALUE:
        return f", and {NO_VALUE} stands for none; type the value itself"
    number = _number(value)
    if kind in (int, float) and number is not None and not isinstance(value, bool):
        if not math.isfinite(number):
            return ", a finite one"
        if kind is int and isinstance(number, float) and number.is_integer() and abs(number) < MAX_INTEGER:
            return f"; type {int(number)}"
        if abs(number) >= (MAX_INTEGER if kind is int else MAX_NUMBER):
            return ", a smaller one"
    return ""


def _expected(kind: Any) -> str:
    """Return the words for a type."""
    plain = _given(kind)
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    if plain in words:
        return words[plain]
    if plain is Any:
        return "a value"
    if typing.get_origin(plain) is list:
        each = {int: " of whole numbers", float: " of numbers", str: " of names"}
        return f"a list{each.get(typing.get_args(plain)[0], ' of mappings')}"
    return "a mapping"


def _example(key: str, kind: Any, value: Any) -> str:
    """Return what to type, for a list or mapping that came as something else."""
    plain = _given(kind)
    if typing.get_origin(plain) not in (list, dict):
        return ""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        (each, *_) = typing.get_args(plain)
        if typing.get_origin(plain) is list and _misfit(each, value, 0) is None:
            return f"; type {key}=[{value}]"
    return f"; type for example {key}={EXAMPLES[key]}" if key in EXAMPLES else ""
