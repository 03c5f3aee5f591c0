"""A mixture of fitted laws, and intervals over it: of parameters, of frontiers, and of new runs.

Each law has a weight from the likelihood of the fitted runs. The estimates of a law are redrawn by adding
noise to its fitted losses and fitting again. An interval holds the central share of the draws of all laws,
each law with its weight. The runs exclude a law of weight below EXCLUDED, and its draws are left out. If the
runs cannot tell two laws apart, the interval widens by as much as the two laws disagree.

Weights: ln w = −½·(χ² + p·ln K) + constant, with χ² the squares around the law over the variance of the noise
(noise.py), p its free parameters and K the cells. Rows of large models count more: their noise is less. The
variance is inflated by what the best law leaves unexplained, so that a law does not win by explaining more of
what none explains.

References: Schwarz 1978, Annals of Statistics 6 (BIC); Buckland et al. 1997, Biometrics 53 (averages and
their intervals); Burnham & Anderson 2002, Model Selection and Multimodel Inference, section 2.5 (inflation).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.arrays import Array, groups
from analysis.averaging.noise import LawNoise, NoiseBySize, law_noise, noise_by_size, shared_noise
from analysis.intervals import LEVEL
from analysis.laws import Law, find_law
from analysis.solve.problem import Problem, checked_problem
from analysis.solve.search import multi_start
from analysis.tables.seed_noise import drawn_scale
from analysis.tables.table import LossTable

EXCLUDED = 0.005  # a law of less weight is left out
RESAMPLES = 400
STARTS = 32
TINY = 1e-300


@dataclass(frozen=True)
class WeighedLaw:
    """One law of an average.

    Attributes:
        law: the law.  weight: its share of the average, 0 … 1.
        theta: estimate [params].
        redraw: returns redrawn estimates [resamples, params], the same each time.
        chi2: squares around the law over the variance of the noise.
    """

    law: Law
    weight: float
    theta: Array
    redraw: Callable[[], Array]
    chi2: float

    @property
    def samples(self) -> Array:
        """Redrawn estimates [resamples, params]; those of a law that nobody asks for are never made."""
        return self.redraw()

    @property
    def name(self) -> str:
        return self.law.name


@dataclass(frozen=True)
class LawAverage:
    """Laws that the fitted runs allow, each with its weight, and the noise around them.

    Attributes:
        laws: all that were weighed, by falling weight.
        noise: around the best law.
        by_size: how the noise falls with N.
        scale: square root of the drawn over the estimated variance of the noise [resamples].
        seed: of the noise of new runs.
    """

    laws: tuple[WeighedLaw, ...]
    noise: LawNoise
    by_size: NoiseBySize
    scale: Array
    seed: int = 0

    @property
    def best(self) -> WeighedLaw:
        """The law of largest weight."""
        return self.laws[0]

    @property
    def kept(self) -> tuple[WeighedLaw, ...]:
        """The laws that the runs do not exclude."""
        return tuple(entry for entry in self.laws if entry.weight >= EXCLUDED)

    def alone(self, name: str) -> LawAverage:
        """Return the average that holds one of the laws only."""
        (entry,) = (entry for entry in self.laws if entry.name == name)
        return replace(self, laws=(replace(entry, weight=1.0),))

    def draws(self, of: Callable[[Law, Array], Array]) -> tuple[Array, Array]:
        """Return draws [draws, …] of a quantity over the kept laws, and their weights [draws].

        `of` takes a law and its estimates [resamples, params]; it may return fewer draws.
        """
        found = [(entry.weight, of(entry.law, entry.samples)) for entry in self.kept]
        weights = np.concatenate([np.full(len(values), weight / len(values)) for weight, values in found])
        return np.concatenate([values for _, values in found]), weights / weights.sum()

    def new_runs(self, n: Array, d: Array, c: Array, level: float = LEVEL) -> tuple[Array, Array, Array]:
        """Return the predicted losses of new runs and the ends of their intervals, each [cells].

        The draws hold the noise of a run besides the uncertainty of the laws.
        """
        rng = np.random.default_rng(self.seed)
        logs, weights = self.draws(lambda law, samples: np.log(law.value(samples, n, d, c)))
        scale = np.tile(self.scale, len(self.kept))[:, None]
        sd = self.noise.sd * self.by_size.relative(n)
        noisy = logs + sd * scale * rng.standard_normal(logs.shape)
        _, middle, _ = weighted_quantiles(logs, weights, level)
        low, _, high = weighted_quantiles(noisy, weights, level)
        return np.exp(middle), np.exp(low), np.exp(high)


def average_laws(
    table: LossTable, laws: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> LawAverage:
    """Weigh laws by the likelihood of the fitted runs and redraw the estimates of those that remain.

    Args:
        table: finished runs, held-out ones left out.
        laws: names of laws that the table can determine.
        resamples: redrawn estimates of each kept law; 0 for weights alone.
        seed: of starts and draws.

    Raises:
        InputError: the table cannot hold one of the laws.
    """
    by_size = noise_by_size(table)
    weights = by_size.relative(table.n) ** -2
    table = replace(table, weights=weights if table.weights is None else weights * table.weights)
    means = _cell_means(table)
    rough = [
        multi_start(checked_problem(means, law, "lsq"), np.random.default_rng(seed), STARTS).theta
        for law in laws
    ]
    share, share_dof = shared_noise(table)
    problems = [Problem(find_law(law), table, "gls", shared=share) for law in laws]
    solved = [problem.solve(theta, near=True) for problem, theta in zip(problems, rough, strict=True)]
    sums = np.array([2 * float(each.objective[0]) for each in solved])
    free = np.array([problem.law.n_free for problem in problems])
    noise = law_noise(table, share, share_dof, sums.tolist(), free.tolist())
    chi2 = (sums - noise.pure) / max(noise.unit, TINY)
    shares = weigh(chi2, free, table.n_cells)
    rng = np.random.default_rng(seed)
    scale = drawn_scale(noise.dof, resamples, rng)
    shocks = _drawn_noise(table, noise, scale, rng)
    found = [
        WeighedLaw(
            problem.law,
            float(weight),
            each.theta[0],
            functools.cache(functools.partial(_redrawn, problem, each.theta[0], shocks)),
            float(square),
        )
        for problem, each, weight, square in zip(problems, solved, shares, chi2, strict=True)
    ]
    found.sort(key=lambda entry: -entry.weight)
    return LawAverage(tuple(found), noise, by_size, scale, seed)


def weigh(chi2: Array, n_free: Array, n_cells: int) -> Array:
    """Return the weights of laws from their χ² and their free parameters (head of this module)."""
    logs = -0.5 * (chi2 + n_free * np.log(n_cells))
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def weighted_quantiles(values: Array, weights: Array, level: float) -> Array:
    """Return lower end, median and upper end [3, …] of draws [draws, …] with weights [draws]."""
    flat = values.reshape(len(values), -1)
    order = np.argsort(flat, axis=0)
    asked = np.array([(1 - level) / 2, 0.5, (1 + level) / 2])
    ends = np.empty((3, flat.shape[1]))
    for column in range(flat.shape[1]):
        rising = order[:, column]
        middle = np.cumsum(weights[rising]) - 0.5 * weights[rising]
        ends[:, column] = np.interp(asked, middle, flat[rising, column])
    return ends.reshape(3, *values.shape[1:])


def _cell_means(table: LossTable) -> LossTable:
    """Return one row a cell with the geometric mean of its losses, weighted by its rows."""
    # The means have the same basin as the rows, so the many starts need only the means.
    cells = groups(table.cell)
    first = np.zeros(len(table), bool)
    first[[rows[0] for rows in cells]] = True
    by_first = sorted(cells, key=lambda rows: int(rows[0]))
    weights = np.ones(len(table)) if table.weights is None else table.weights
    return replace(
        table.select(first),
        loss=np.array(
            [np.exp(np.average(np.log(table.loss[rows]), weights=weights[rows])) for rows in by_first]
        ),
        weights=np.array([weights[rows].sum() for rows in by_first]),
    )


def _drawn_noise(table: LossTable, noise: LawNoise, scale: Array, rng: np.random.Generator) -> Array:
    """Return noise of log loss [resamples, rows]: a part of each trunk and a part of each row."""
    clusters, codes = np.unique(table.cluster, return_inverse=True)
    common = rng.standard_normal((len(scale), len(clusters)))[:, codes]
    own = rng.standard_normal((len(scale), len(table)))
    both = np.sqrt(noise.share) * common + np.sqrt(1 - noise.share) * own
    each = 1.0 if table.weights is None else table.weights**-0.5
    return np.asarray(noise.sd * scale[:, None] * each * both)


def _redrawn(problem: Problem, theta: Array, shocks: Array) -> Array:
    """Return the estimates from the fitted losses with noise [resamples, rows], [resamples, params]."""
    if len(shocks) == 0:
        return np.empty((0, len(theta)))
    losses = problem.predict(theta) * np.exp(shocks)
    starts = np.broadcast_to(theta, (len(shocks), len(theta)))
    return problem.solve(starts, losses=losses, near=True).theta
