"""Laws on a table, ready for questions: what a budget buys, and where a run of given N and D ends.

Intervals of sizes, tokens and compute hold the uncertainty of the laws. The interval of the loss is that of
one new run, so it holds the noise of a run too. Without a named law the numbers are over all laws that the
rows cannot exclude (analysis/averaging); a named law answers alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.optimize import brentq

from analysis.arrays import Array, Interval
from analysis.averaging.average import RESAMPLES, LawAverage, WeighedLaw, average_laws, weighted_quantiles
from analysis.contest.adequacy import candidates
from analysis.cost import Cost
from analysis.frontier import MAX_EXTRAPOLATION, Surface, extrapolation_warning, flatness, optimum, table_cost
from analysis.intervals import LEVEL
from analysis.laws import Law
from analysis.records.predictions import Estimated, PredictionRecord
from analysis.records.warning_codes import TABLE_WIDE, FitWarning, WarningCode
from analysis.result import Fit
from analysis.solve.problem import checked_problem
from analysis.tables.seed_noise import drawn_scale
from analysis.tables.table import LossTable
from analysis.uncertainty.table_warnings import table_warnings
from harness.records.errors import InputError
from harness.records.number_text import power_of_ten, si

FARTHEST, NEAREST = 1e5, 1e-3  # times the largest and the smallest fitted compute: beyond them no answer
AXIS_REACH = 10.0  # times the largest fitted N or D: beyond it a warning, whatever the compute
REACH = 1e6  # sizes are searched this far beyond the measured ones
STEPS = 10  # of a decade of compute, between which the curves of draws are interpolated
DRAWN_ROWS, FEWEST = 400_000, 40  # redrawn losses of a law at most, and the fewest draws
AXES = {"N": 0, "D": 1, "L": 2}  # places among N*, D* and loss
WORDS = {"N": "parameters", "D": "tokens", "L": "nats per token", "C": "FLOPs"}


@dataclass(frozen=True)
class Predictor:
    """Laws on a table, and the answers they give.

    Attributes:
        average: the laws with their weights, redrawn estimates and noise.
        table: the fitted rows.
        cost: training FLOPs per token as a function of N.
        level: share of the intervals.
        stretch: factor on the spread of the draws, as in `Fit`.
    """

    average: LawAverage
    table: LossTable
    cost: Cost
    level: float = LEVEL
    stretch: float = 1.0

    @classmethod
    def over_laws(
        cls,
        table: LossTable,
        *,
        laws: Sequence[str] | None = None,
        resamples: int = RESAMPLES,
        level: float = LEVEL,
        seed: int = 0,
    ) -> Predictor:
        """Weigh laws on a table.

        Args:
            table: the fitted rows.
            laws: names of laws that the table can determine; by default those of a contest.
            resamples: redrawn estimates of each law, fewer on a long table; 0 for no intervals.
            level: share of the intervals.
            seed: of starts and draws.

        Raises:
            InputError: the table lacks N or D, or cannot hold a law.
        """
        table.require("a prediction", "nd")
        draws = min(resamples, max(DRAWN_ROWS // len(table), FEWEST))
        able = _determined(table, candidates(table)) if laws is None else laws
        average = average_laws(table, able, resamples=draws, seed=seed)
        return cls(average, table, table_cost(table), level)

    @classmethod
    def of_fit(cls, fit: Fit, table: LossTable, *, level: float = LEVEL, seed: int = 0) -> Predictor:
        """Return the predictor of one fitted law, with the draws of its bootstrap.

        Raises:
            InputError: the fit has no law in N and D.
        """
        law = fit.loss_law()
        if law.axes != "nd":
            raise InputError(
                f"{fit.law} is no law in N and D: expected one that predicts runs, such as chinchilla"
            )
        average = average_laws(table, [fit.law], resamples=0, seed=seed)
        samples = np.empty((0, len(fit.theta))) if fit.samples is None else fit.samples
        scale = drawn_scale(average.noise.dof, len(samples), np.random.default_rng(seed))
        alone = WeighedLaw(law, 1.0, fit.theta, lambda: samples, average.best.chi2)
        return cls(replace(average, laws=(alone,), scale=scale), table, table_cost(table), level, fit.stretch)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each law behind the answers."""
        return {entry.name: entry.weight for entry in self.average.kept}

    def run(self, n: float, d: float) -> PredictionRecord:
        """Predict the loss of one run of N parameters on D tokens.

        Raises:
            InputError: N or D is not positive, or lies too far from the fitted runs.
        """
        asked = {"N": n, "D": d}
        _check(asked)
        flops = float(self.cost(np.array([n]))[0] * d)
        self._check_reach(flops, asked)
        return self._answer(asked, Estimated(n), Estimated(d), Estimated(flops), optimal=False)

    def best(
        self,
        *,
        flops: float | None = None,
        n: float | None = None,
        d: float | None = None,
        loss: float | None = None,
    ) -> PredictionRecord:
        """Find the run that divides its compute best, from one of its four quantities.

        Args:
            flops: training compute C, FLOPs.
            n: size N, parameters: the tokens that make it the best size.
            d: training tokens D: the size that makes them the best number.
            loss: nats per token: the least compute that reaches it.

        Raises:
            InputError: none or several are given, one is not positive or too far from the fitted runs, or no
                compute reaches the loss.
        """
        given = {"C": flops, "N": n, "D": d, "L": loss}
        asked = {name: value for name, value in given.items() if value is not None}
        if len(asked) != 1:
            raise InputError(f"one of flops, n, d and loss was expected, got {', '.join(asked) or 'none'}")
        _check(asked)
        ((name, value),) = asked.items()
        compute = value if name == "C" else self._compute_for(name, value)
        self._check_reach(compute, asked)
        sizes, tokens, _ = self._optima(np.array([compute]))
        if name == "C":
            draws, cost = self._drawn(np.array([compute]))[:, 0], Estimated(compute)
        else:
            spent, draws = self._drawn_for(name, value)
            cost = Estimated(compute, self._interval(spent))
        found = {
            axis: Estimated(float(middle[0]), self._interval(draws[:, AXES[axis]]))
            for axis, middle in (("N", sizes), ("D", tokens))
        }
        if name in found:
            found[name] = Estimated(value)
        return self._answer(asked, found["N"], found["D"], cost, optimal=True)

    def expected_loss(self, n: float, d: float) -> float:
        """Return the predicted loss of a run, nats per token, however far it lies from the fitted ones."""
        flops = float(self.cost(np.array([n]))[0] * d)
        return self._loss(n, d, flops).value

    def over_draws(self, of: Callable[[Law, Array], Array]) -> Estimated:
        """Return a positive quantity of the laws with its interval.

        Args:
            of: takes a law and its estimates [draws, params] and returns the quantity [draws]; NaN counts as
                infinite.
        """
        if self._is_alone or self._without_draws:
            best = self.average.best
            middle = float(of(best.law, best.theta[None])[0])
            return Estimated(middle, None if self._without_draws else self._interval(self._all_draws(of)))
        drawn = self._all_draws(of)
        return Estimated(
            float(weighted_quantiles(drawn, self._weights, self.level)[1]), self._interval(drawn)
        )

    def _all_draws(self, of: Callable[[Law, Array], Array]) -> Array:
        drawn = np.concatenate([of(entry.law, entry.samples) for entry in self.average.kept])
        return np.nan_to_num(drawn, nan=np.inf)

    def loss_draws(self, found: PredictionRecord) -> tuple[Array, Array]:
        """Return draws of the loss that an answer states, without the noise of a run, and their weights.

        A loss that was asked for has one value in all draws.
        """
        if self._without_draws:
            return np.empty(0), np.empty(0)
        n, d, flops = (np.array([each.value]) for each in (found.n, found.d, found.flops))
        drawn, weights = self.average.draws(lambda law, samples: law.value(samples, n, d, flops)[:, 0])
        return (np.full_like(drawn, found.loss.value) if "L" in found.asked else drawn), weights

    def _answer(
        self, asked: dict[str, float], n: Estimated, d: Estimated, flops: Estimated, *, optimal: bool
    ) -> PredictionRecord:
        given = asked.get("L")
        loss = self._loss(n.value, d.value, flops.value) if given is None else Estimated(given)
        flat = None
        if optimal:
            best = self.average.best
            surface = self._surface(best.law, best.theta)
            ends = flatness(surface, np.array([flops.value]), np.array([n.value]))[0]
            flat = float(ends[0]), float(ends[1])
        return PredictionRecord(
            asked=asked,
            n=n,
            d=d,
            flops=flops,
            loss=loss,
            optimal=optimal,
            flat=flat,
            factor=flops.value / float(self.table.c.max()),
            level=self.level,
            laws=self.weights,
            warnings=tuple(self._doubts(n.value, d.value, flops.value)),
        )

    def _loss(self, n: float, d: float, flops: float) -> Estimated:
        """Return the loss of one new run, with the noise of a run in its interval."""
        place = np.array([n]), np.array([d]), np.array([flops])
        if self._without_draws:
            return Estimated(float(self._central_loss(*place)[0]))
        middle, low, high = (float(part[0]) for part in self.average.new_runs(*place, self.level))
        if self._is_alone:
            # The estimate is the one that is printed with the fit, not the median of its draws.
            central = float(self._central_loss(*place)[0])
            low, high = (central * (end / middle) ** self.stretch for end in (low, high))
            middle = central
        return Estimated(middle, (low, high))

    def _central_loss(self, n: Array, d: Array, flops: Array) -> Array:
        best = self.average.best
        return np.asarray(best.law.value(best.theta, n, d, flops))

    @property
    def _is_alone(self) -> bool:
        return len(self.average.kept) == 1

    @property
    def _without_draws(self) -> bool:
        return len(self.average.best.samples) == 0

    def _surface(self, law: Law, theta: Array) -> Surface:
        sizes = float(self.table.n.min() / REACH), float(self.table.n.max() * REACH)
        return Surface(law.name, lambda n, d: law.value(theta, n, d), self.cost, sizes)

    def _optima(self, flops: Array) -> tuple[Array, Array, Array]:
        """Return N*, D* and loss at each compute [flops]: of a law alone its estimate, else medians."""
        if self._is_alone or self._without_draws:
            best = self.average.best
            n, d, loss = (part[0] for part in optimum(self._surface(best.law, best.theta), flops))
            return n, d, loss
        n, d, loss = np.moveaxis(weighted_quantiles(self._drawn(flops), self._weights, self.level)[1], -1, 0)
        return n, d, loss

    def _drawn(self, flops: Array) -> Array:
        """Return N*, D* and loss of every draw, [draws, flops, 3]."""

        def of(law: Law, samples: Array) -> Array:
            if len(samples) == 0:
                return np.empty((0, len(flops), 3))
            return np.stack(optimum(self._surface(law, samples), flops, len(samples)), axis=-1)

        return np.concatenate([of(entry.law, entry.samples) for entry in self.average.kept])

    @cached_property
    def _weights(self) -> Array:
        """Weight of every draw."""
        _, weights = self.average.draws(lambda _law, samples: samples[:, :1])
        return weights

    @cached_property
    def _grid(self) -> Array:
        """Computes at which curves of draws are known, FLOPs."""
        low, high = np.log10(NEAREST * self.table.c.min()), np.log10(FARTHEST * self.table.c.max())
        return np.logspace(low, high, int(STEPS * (high - low)) + 2)

    @cached_property
    def _curves(self) -> Array:
        """N*, D* and loss of every draw on the grid of computes, [draws, computes, 3]."""
        return self._drawn(self._grid)

    def _interval(self, draws: Array) -> Interval | None:
        """Return the central share of positive draws [draws]; None without draws."""
        if len(draws) == 0:
            return None
        low, middle, high = (float(end) for end in weighted_quantiles(draws, self._weights, self.level))
        if self.stretch == 1 or not math.isfinite(high):
            return low, high
        return middle * (low / middle) ** self.stretch, middle * (high / middle) ** self.stretch

    def _compute_for(self, name: str, value: float) -> float:
        """Return the compute at which N*, D* or the lowest loss has a value."""

        def gap(log_flops: float) -> float:
            return math.log(self._optima(np.exp([log_flops]))[AXES[name]][0] / value)

        low, high = (float(np.log(end)) for end in (self._grid[0], self._grid[-1]))
        if gap(low) * gap(high) > 0:
            raise self._out_of_reach(name, value)
        return math.exp(float(brentq(gap, low, high, xtol=1e-6)))

    def _out_of_reach(self, name: str, value: float) -> InputError:
        """Return the error for a size, a token count or a loss that no compute in reach has as its best."""
        ends = [float(end) for end in self._optima(self._grid[[0, -1]])[AXES[name]]]
        nearest = min(ends, key=lambda end: abs(math.log(end / value)))
        side = "no smaller" if nearest > value else "no larger"
        best = {"N": "best size", "D": "best number of tokens", "L": "lowest loss"}[name]
        return InputError(
            f"{name}={value:.6g} {WORDS[name]} is out of reach: from {power_of_ten(self._grid[0])} to "
            f"{power_of_ten(self._grid[-1])} FLOPs the {best} is {side} than "
            f"{f'{nearest:.4g}' if name == 'L' else si(nearest)}; ask for one in between"
        )

    def _drawn_for(self, name: str, value: float) -> tuple[Array, Array]:
        """Return for every draw the compute [draws] at which N*, D* or loss has a value, and N*, D* there."""
        curves, log_flops = np.log(self._curves), np.log(self._grid)
        falls = name == "L"
        spent = np.full(len(curves), np.inf)
        found = np.full((len(curves), 2), np.inf)
        for draw, curve in enumerate(curves):
            along = curve[:, AXES[name]]
            along = -along if falls else along
            wanted = -math.log(value) if falls else math.log(value)
            if along[-1] < wanted:
                continue  # this draw never gets there
            place = np.interp(wanted, np.maximum.accumulate(along), log_flops)
            spent[draw] = np.exp(place)
            found[draw] = [np.exp(np.interp(place, log_flops, curve[:, axis])) for axis in (0, 1)]
        return spent, found

    def _check_reach(self, flops: float, asked: dict[str, float]) -> None:
        least, most = float(self.table.c.min()), float(self.table.c.max())
        what = ", ".join(f"{name}={value:.6g}" for name, value in asked.items())
        # A little more, because the ends of the grid themselves are reached.
        if not NEAREST * least / 1.01 <= flops <= FARTHEST * most * 1.01:
            raise InputError(
                f"{what} takes {power_of_ten(flops)} FLOPs and the fitted runs took {power_of_ten(least)} to "
                f"{power_of_ten(most)}: ask for {power_of_ten(NEAREST * least)} to "
                f"{power_of_ten(FARTHEST * most)}, or add runs nearer to it"
            )

    def _doubts(self, n: float, d: float, flops: float) -> list[FitWarning]:
        """Return warnings of a table to mend, and of a run beyond its rows in compute, size or tokens."""
        table, wide = self.table, list(self._of_table)
        far = extrapolation_warning(float(table.c.max()), flops)
        if far:
            return [*wide, far]
        said = [
            f"{spell(value)} {unit} is {value / ends[1]:.2g} times the largest fitted {name}"
            if value > ends[1]
            else f"{spell(value)} {unit} is {ends[0] / value:.2g} times below the smallest fitted {name}"
            for name, unit, value, ends, room, spell in (
                ("N", "parameters", n, (table.n.min(), table.n.max()), AXIS_REACH, si),
                ("D", "tokens", d, (table.d.min(), table.d.max()), AXIS_REACH, si),
                ("C", "FLOPs", flops, (table.c.min(), table.c.max()), MAX_EXTRAPOLATION, power_of_ten),
            )
            if not ends[0] / room <= value <= ends[1] * room
        ]
        return [*wide, FitWarning(WarningCode.EXTRAPOLATION, "; ".join(said))] if said else wide

    @cached_property
    def _of_table(self) -> tuple[FitWarning, ...]:
        """Warnings that block everything that is read off the table."""
        return tuple(warning for warning in table_warnings(self.table) if warning.code in TABLE_WIDE)


def _determined(table: LossTable, laws: Sequence[str]) -> list[str]:
    """Return the laws that the table can hold; raises the reason of the first if it can hold none."""
    found, reasons = [], []
    for law in laws:
        try:
            checked_problem(table, law, "gls")
        except InputError as error:
            reasons.append(error)
        else:
            found.append(law)
    if not found:
        raise reasons[0]
    return found


def _check(asked: dict[str, float]) -> None:
    for name, value in asked.items():
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"{name} is {value:g}, expected a positive number of {WORDS[name]}")
