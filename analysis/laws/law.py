"""Loss laws as objects: names, bounds, value, Jacobian, starts and closed-form frontier.

Most laws have the shape L = E + (Σ_k coefficient_k · axis_k^-exponent_k)^gamma with the axes
N (parameters), D (tokens), C (training FLOPs), C/M or C·M (M = D/N). `power_sum` builds one from its terms;
a law of another shape (saturating.py) passes its own `value` and `jacobian` to `Law`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from analysis.arrays import Array

Axis = Literal["n", "d", "c", "c/m", "c*m"]
Function = Callable[[Array, Array, Array, Array, Array], Array]
Found = TypeVar("Found")

EXPONENT_BOUNDS = (1e-3, 4.0)
GAMMA_BOUNDS = (0.05, 3.0)
SCALE_BOUNDS = (1e-4, 1e4)  # of a parameter on an axis, around the centre of the table
SCALE_START = 2.0  # such a parameter starts within so many e-folds of the centre
COEFFICIENT_BOUNDS = (1e-9, 1e9)  # of the term at the centre of the table, where losses are of order 1


class Remembered(Generic[Found]):
    """A function of arrays that keeps its last result for the very same arrays, which nobody may change.

    A solver asks for the slope of a law where it just asked for its value, and both need the same powers.
    """

    def __init__(self, of: Callable[..., Found]) -> None:
        self._of = of
        self._last: tuple[tuple[Array, ...], Found] | None = None

    def __call__(self, *arrays: Array) -> Found:
        last = self._last
        if last is not None and all(map(is_, last[0], arrays)):
            return last[1]
        found = self._of(*arrays)
        self._last = arrays, found
        return found


class Measured(Protocol):
    """The columns of a table that starting values are made from."""

    @property
    def n(self) -> Array: ...
    @property
    def d(self) -> Array: ...
    @property
    def c(self) -> Array: ...
    @property
    def loss(self) -> Array: ...


@dataclass(frozen=True)
class Term:
    """One power coefficient · axis^-exponent, by the names of its two parameters."""

    coefficient: str
    exponent: str
    axis: Axis

    @property
    def column(self) -> Literal["n", "d", "c"]:
        """The column that moves the term. Under C = 6·N·D, C/M is 6·N² and C·M is 6·D²."""
        if self.axis == "c/m":
            return "n"
        return "d" if self.axis == "c*m" else self.axis


SIZE_AND_DATA = (Term("A", "alpha", "n"), Term("B", "beta", "d"))


@dataclass(frozen=True)
class ClosedFrontier:
    """The minimum of a law under C = 6·N·D: N* = g·(C/6)^a and D* = (C/6)^b / g."""

    a: float
    b: float
    g: float


@dataclass(frozen=True)
class Law:
    """A loss law L(N, D, C, U) with its parameters.

    Attributes:
        name: how it is asked for.
        formula: for the reader.
        params: names in order.
        bounds: {parameter: (low, high)} in natural units. Bounds of a coefficient hold for its term at the
            centre of a table, bounds of a scale on an axis hold around that centre.
        terms: its powers of N, D or C.
        value_of: (theta, n, d, c, u) → loss. theta is [..., params] in natural units, the columns are [rows],
            u holds the tokens without repetition; the loss is [..., rows], nats per token. It may keep what
            it computed for these very arrays, so callers never change them; `value` asks for no such care.
        jacobian_of: (theta, n, d, c, u) → derivative by every parameter, [..., rows, params].
        power: fixed exponent of the sum of terms, if gamma is not a parameter.
        rises_with_sum: whether the loss depends on the terms through their sum alone.
        scales: positive parameters fitted by their logarithm: {name: axis on which it lies, or None}.
    """

    name: str
    formula: str
    params: tuple[str, ...]
    bounds: Mapping[str, tuple[float, float]]
    terms: tuple[Term, ...]
    value_of: Function
    jacobian_of: Function
    power: float = 1.0
    rises_with_sum: bool = True
    scales: Mapping[str, Axis | None] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Law({self.name}: {self.formula})"

    def value(
        self,
        theta: ArrayLike,
        n: ArrayLike,
        d: ArrayLike,
        c: ArrayLike | None = None,
        u: ArrayLike | None = None,
    ) -> Array:
        """Return the loss [..., rows]; without `c` the compute is 6·n·d, without `u` no token is repeated.

        Each argument is a number, a list, an array or a Series.
        """
        return self.value_of(np.asarray(theta, float)[...], *_columns(n, d, c, u))

    def jacobian(
        self,
        theta: ArrayLike,
        n: ArrayLike,
        d: ArrayLike,
        c: ArrayLike | None = None,
        u: ArrayLike | None = None,
    ) -> Array:
        """Return the derivative of `value` by every parameter, [..., rows, params]."""
        return self.jacobian_of(np.asarray(theta, float)[...], *_columns(n, d, c, u))

    @property
    def axes(self) -> str:
        """The columns out of n, d and c that its terms depend on."""
        used = {term.column for term in self.terms}
        return "".join(column for column in "ndc" if column in used)

    @property
    def searched(self) -> tuple[str, ...]:
        """The parameters of the outer search of variable projection, which are exponents and gamma."""
        inner = {term.coefficient for term in self.terms} | {"E"} | set(self.scales)
        return tuple(name for name in self.params if name not in inner)

    @property
    def fixed(self) -> tuple[str, ...]:
        """Parameters whose range is a single value."""
        return tuple(name for name, (low, high) in self.bounds.items() if low == high)

    @property
    def n_free(self) -> int:
        """Parameters that a fit determines."""
        return len(self.params) - len(self.fixed)

    def depends_on_units(self, name: str) -> bool:
        """Return whether the value of a parameter changes with the units of N, D or C."""
        return name in {term.coefficient for term in self.terms} or bool(self.scales.get(name))

    def rescale(self, theta: Array, centre: Mapping[str, float]) -> Array:
        """Return theta for columns multiplied by `centre` ({"n": n0, "d": d0, "c": c0, …})."""
        scaled = np.array(theta, dtype=float)
        for term in self.terms:
            exponent = scaled[..., self.params.index(term.exponent)]
            scaled[..., self.params.index(term.coefficient)] *= centre[term.axis] ** exponent
        for name, axis in self.scales.items():
            if axis is not None:
                scaled[..., self.params.index(name)] *= centre[axis]
        return scaled

    def centred(self, theta: Array, centre: Mapping[str, float]) -> Array:
        """Return theta for columns divided by `centre`: the inverse of `rescale`."""
        return self.rescale(theta, {axis: 1 / value for axis, value in centre.items()})

    def starts(self, table: Measured, rng: np.random.Generator, k: int) -> Array:
        """Return k random starting points [k, params]: random exponents, the loss shared among the terms."""
        # E is drawn as the square root of a uniform number: more starts near the lowest loss than near 0.
        bounded = {name: limits for name, limits in self.bounds.items() if name != "E"}
        theta = {name: np.full(k, np.sqrt(low * high)) for name, (low, high) in bounded.items()}
        gamma = (
            np.exp(rng.uniform(np.log(0.2), np.log(1.2), k))
            if "gamma" in self.params
            else np.full(k, self.power)
        )
        theta["gamma"] = gamma
        offset = rng.uniform(0, 1, k) ** 0.5 * np.min(table.loss) if "E" in self.params else np.zeros(k)
        theta["E"] = offset
        rest = np.maximum(np.exp(np.mean(np.log(table.loss))) - offset, 1e-3) ** (1 / gamma)
        shares = rng.dirichlet(np.ones(max(len(self.terms), 1)), k)
        for index, term in enumerate(self.terms):
            theta[term.exponent] = np.exp(rng.uniform(np.log(0.05), np.log(0.9), k)) / gamma
            theta[term.coefficient] = rest * np.maximum(shares[:, index], 0.02)
        for name, axis in self.scales.items():
            spread = (
                SCALE_START if axis is not None else 0.5 * np.log(self.bounds[name][1] / self.bounds[name][0])
            )
            theta[name] = theta[name] * np.exp(rng.uniform(-spread, spread, k))
        stacked = np.stack([theta[name] for name in self.params], axis=-1)
        return self.rescale(stacked, centre_of(table))

    def frontier(self, theta: ArrayLike) -> ClosedFrontier | None:
        """Return the compute-optimal sizes under C = 6·N·D, or None if they are not in closed form.

        E + (A·N^-α + B·D^-β)^γ is smallest at the minimum of the inner sum, because x ↦ x^γ rises for γ > 0.
        Hence a = β/(α+β), b = α/(α+β), g = (α·A/(β·B))^(1/(α+β)) for any γ and E.

        References: Hoffmann et al. 2022, arXiv:2203.15556, section 3.3, equation 4.
        """
        named = dict(zip(self.params, np.asarray(theta, float), strict=True))
        by_axis = dict(_under_six_nd(term, named) for term in self.terms)
        if set(by_axis) != {"n", "d"} or len(self.terms) != 2 or not self.rises_with_sum:
            return None
        (size, alpha), (data, beta) = by_axis["n"], by_axis["d"]
        ratio = alpha * size / (beta * data)
        total = alpha + beta
        with np.errstate(over="ignore"):  # coefficients at their bounds: g is infinite
            g = float(ratio ** (1 / total))
        return ClosedFrontier(float(beta / total), float(alpha / total), g)


def centre_of(table: Measured) -> dict[str, float]:
    """Return the geometric mean of each axis: the units in which a fit is well conditioned."""
    # In natural units A·N^-alpha has A near 400 and N near 1e9: a small change of alpha moves A by orders of
    # magnitude. At the centre both terms are of order 1, and coefficient and exponent hardly interact.
    n, d, c = (float(np.exp(np.mean(np.log(values)))) for values in (table.n, table.d, table.c))
    return {"n": n, "d": d, "c": c, "c/m": c * n / d, "c*m": c * d / n}


def axis_of(axis: Axis, n: Array, d: Array, c: Array) -> Array:
    """Return the column of an axis."""
    if axis == "c/m":
        return c * n / d
    return c * d / n if axis == "c*m" else {"n": n, "d": d, "c": c}[axis]


def stacked(columns: Sequence[Array]) -> Array:
    """Return columns [..., rows] as [..., rows, params], rows next to each other in memory."""
    # The normal equations sum over rows; neighbours in memory make that sum one vector instruction.
    shape = np.broadcast(*columns).shape
    found = np.empty((*shape[:-1], len(columns), shape[-1]))
    for index, column in enumerate(columns):
        found[..., index, :] = column
    return found.swapaxes(-1, -2)


def _columns(
    n: ArrayLike, d: ArrayLike, c: ArrayLike | None, u: ArrayLike | None
) -> tuple[Array, Array, Array, Array]:
    n, d = np.asarray(n, float), np.asarray(d, float)
    return n, d, 6 * n * d if c is None else np.asarray(c, float), d if u is None else np.asarray(u, float)


def _under_six_nd(term: Term, named: Mapping[str, float]) -> tuple[str, tuple[float, float]]:
    """Return column, coefficient and exponent of a term as a power of that column under C = 6·N·D."""
    coefficient, exponent = named[term.coefficient], named[term.exponent]
    if term.axis != term.column:
        coefficient, exponent = coefficient * 6**-exponent, 2 * exponent
    return term.column, (coefficient, exponent)


def power_sum(
    name: str,
    formula: str,
    terms: tuple[Term, ...],
    *,
    offset: bool,
    gamma: bool = False,
    power: float = 1.0,
) -> Law:
    """Return the law E + (Σ coefficient·axis^-exponent)^gamma.

    E is 0 without `offset`. gamma is a parameter with `gamma`, else the number `power`.
    """
    coefficients = tuple(term.coefficient for term in terms)
    exponents = tuple(dict.fromkeys(term.exponent for term in terms))  # terms may share one
    params = (("E",) if offset else ()) + coefficients + exponents + (("gamma",) if gamma else ())
    bounds: dict[str, tuple[float, float]] = dict.fromkeys(coefficients, COEFFICIENT_BOUNDS)
    bounds |= dict.fromkeys(exponents, EXPONENT_BOUNDS)
    bounds |= {"E": (0.0, np.inf)} if offset else {}
    bounds |= {"gamma": GAMMA_BOUNDS} if gamma else {}
    curved = gamma or power != 1

    @Remembered
    def logs_of(n: Array, d: Array, c: Array) -> list[Array]:
        return [np.log(axis_of(term.axis, n, d, c)) for term in terms]

    @Remembered
    def parts(
        theta: Array, n: Array, d: Array, c: Array
    ) -> tuple[dict[str, Array], list[Array], list[Array], list[Array]]:
        named = {name: theta[..., index, None] for index, name in enumerate(params)}
        named.setdefault("gamma", np.asarray(power))
        logs = logs_of(n, d, c)
        powers = [np.exp(-named[term.exponent] * log) for term, log in zip(terms, logs, strict=True)]
        scaled = [named[term.coefficient] * power for term, power in zip(terms, powers, strict=True)]
        return named, logs, powers, scaled

    def value(theta: Array, n: Array, d: Array, c: Array, _: Array) -> Array:
        named, _logs, _powers, scaled = parts(theta, n, d, c)
        inner = functools.reduce(np.add, scaled)
        outer = inner ** named["gamma"] if curved else inner
        return named["E"] + outer if offset else outer

    def jacobian(theta: Array, n: Array, d: Array, c: Array, _: Array) -> Array:
        named, logs, powers, scaled = parts(theta, n, d, c)
        by_name: dict[str, Array] = {"E": np.ones(1)}
        for term, log, decay, part in zip(terms, logs, powers, scaled, strict=True):
            by_name[term.coefficient] = decay
            change = part * -log
            by_name[term.exponent] = by_name[term.exponent] + change if term.exponent in by_name else change
        if curved:
            inner = functools.reduce(np.add, scaled)
            slope = named["gamma"] * inner ** (named["gamma"] - 1)
            by_name = {name: column if name == "E" else slope * column for name, column in by_name.items()}
        if gamma:
            by_name["gamma"] = inner ** named["gamma"] * np.log(inner)
        return stacked([by_name[name] for name in params])

    return Law(name, formula, params, bounds, terms, value, jacobian, power)
