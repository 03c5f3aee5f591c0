"""How often each verdict is given on simulated ladders of 11 sizes × 5 seeds: jumps on slopes, smooth curves.

The full form prints its table: `RUN_SLOW=1 pytest -n 0 -s -m slow` with this file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from scipy import stats

from analysis.emergence.statistics.sharpness import Design, p_values
from analysis.emergence.statistics.smooth_law import improves
from analysis.emergence.statistics.width import JumpGrid
from analysis.emergence.verdict import Evidence, decide
from analysis.records.emergence import Verdict
from tests.fakes.emergence import (
    SEED_SD,
    SEEDS,
    Truth,
    exponential,
    jump,
    knee,
    mixed_items,
    power_law,
    quadratic,
    saturation,
    sizes,
)

K = 11
X = np.log10(sizes(K) / sizes(K)[0])
DESIGN = Design(X, np.full(K, float(SEEDS)))
TRANSITIONS = (Verdict.TRANSITION, Verdict.UNSEEN_TRANSITION)
LENGTH = 4  # tokens of an answer, whose exact match is e^(−length·nll)

JUMPS = {
    (drop, width, alpha, centre): jump(drop, centre, width, alpha=alpha)
    for drop in (1.0, 1.5)
    for width in (0.1, 0.2, 0.3)
    for alpha in (0.0, 0.2, 0.4)
    for centre in (0.5, 0.75, 1.0)
}
# No plateau, no corner: neither a jump nor an onset.
LAWS: dict[str, Truth] = {
    **{f"power law {alpha}": power_law(alpha, 1.5) for alpha in (0.1, 0.2, 0.4, 0.7, 1.1)},
    "power law with floor 0.1": power_law(0.8, 1.5, 0.1),
    "power law with floor 0.3": power_law(1.5, 1.5, 0.3),
    "log-quadratic 0, 0.5": quadratic(0.0, 0.5),
    "log-quadratic 0, 1": quadratic(0.0, 1.0),
    "log-quadratic 0.5, 1": quadratic(0.5, 1.0),
    "log-quadratic 0.2, 2": quadratic(0.2, 2.0),
    "log-quadratic 2.5, -0.8": quadratic(2.5, -0.8),
    **{f"exponential saturation {scale}": saturation(scale) for scale in (0.2, 0.4, 0.8)},
}
# Late but gradual.
ONSETS: dict[str, Truth] = {
    **{
        f"knee at {at}, slope {slope}, softness {softness}": knee(at, slope, softness)
        for at, slope, softness in (
            (0.4, 2, 0.01), (0.4, 4, 0.2), (0.75, 2, 0.1), (0.75, 4, 0.01), (1.0, 1, 0.01), (1.0, 2, 0.1)
        )
    },
    "wide jump 0.8, 1": jump(1.0, 0.75, 0.8),
    "wide jump 0.7, 2": jump(2.0, 0.75, 0.7),
    "wide jump 1.2, 2": jump(2.0, 0.75, 1.2),
    "exponential law": exponential(0.8, 0.05),
    "exponential law without floor": exponential(0.8, 0.0),
    "mixed items": mixed_items(0.35),
}  # fmt: skip
SEED_KINDS = ("normal", "heavy", "failing", "scattered")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALING_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def noise(kind: str, rng: np.random.Generator, draws: int) -> np.ndarray:
    """Deviations of seeds from the truth in ln NLL [draws, sizes, seeds]."""
    shape = (draws, K, SEEDS)
    if kind == "heavy":  # Student's t on 2.5 degrees of freedom has a standard deviation of √5
        return np.asarray(SEED_SD * rng.standard_t(2.5, shape) / np.sqrt(5))
    found = SEED_SD * rng.standard_normal(shape)
    if kind == "failing":  # every twelfth seed ends far above
        found += (rng.random(shape) < 0.08) * rng.uniform(0.3, 1.2, shape)
    if kind == "scattered":  # sizes differ by more than seeds do
        found += 0.05 * rng.standard_normal((draws, K, 1))
    return np.asarray(found)


def verdicts(truth: Truth, kind: str = "normal", draws: int = 40, exact: bool = True) -> Counter[Verdict]:
    """Return the verdicts on simulated curves, by the rules of the study without their power."""
    rng = np.random.default_rng(11)
    seeds = truth(X)[:, None] + noise(kind, rng, draws)
    y, variance = seeds.mean(axis=2), seeds.var(axis=2, ddof=1).mean(axis=1)
    p = p_values(DESIGN, y, seed=0)[1]
    found = JumpGrid(DESIGN).fit(y, variance, K * (SEEDS - 1))
    return Counter(
        decide(
            Evidence(
                n_sizes=K,
                p=float(p[i]),
                p_alone=float(p[i]),
                height=float(found.height[i]),
                share=float(found.share[i]),
                lower=float(found.lower[i]),
                upper=float(found.upper[i]),
                onset=bool(found.onset[i]),
                largest=DESIGN.largest(y[i]) / float(np.ptp(y[i])),
                power=0.0,
                fall_p=improves(X, y[i], DESIGN.weight),
                gain=None,
                exact=np.exp(-LENGTH * np.exp(y[i])) if exact else None,
                exact_limit=0.0,
                effective=None,
            )
        )
        for i in range(draws)
    )


def share(found: Counter[Verdict], *wanted: Verdict) -> float:
    return sum(found[verdict] for verdict in wanted) / found.total()


def most(rate: float, draws: int) -> float:
    """Return a share of draws that a true rate exceeds once in 10⁵ times."""
    return float(stats.binom.ppf(1 - 1e-5, draws, rate)) / draws


def least(rate: float, draws: int) -> float:
    return float(stats.binom.ppf(1e-5, draws, rate)) / draws


def detected(draws: int) -> dict[tuple[float, float, float, float], float]:
    return {key: share(verdicts(truth, draws=draws), *TRANSITIONS) for key, truth in JUMPS.items()}


def check_detection(found: Mapping[tuple[float, float, float, float], float], draws: int) -> None:
    assert np.mean(list(found.values())) >= least(0.95, draws * len(found))
    for alpha in (0.0, 0.2, 0.4):
        each = [value for key, value in found.items() if key[2] == alpha]
        assert np.mean(each) >= least(0.9, draws * len(each)), alpha
    for key, value in found.items():
        # A jump of 1 over 0.3 decades differs from one over 0.6 by 2.9 standard errors on a slope.
        hardest = key[:2] == (1.0, 0.3)
        assert value >= least(0.79 if hardest else 0.9, draws), key


def test_jumps_on_slopes_are_found() -> None:
    check_detection(detected(12), 12)


@pytest.mark.parametrize("kind", SEED_KINDS)
def test_smooth_curves_are_no_transitions(kind: str) -> None:
    draws = 12
    found = {name: verdicts(truth, kind, draws) for name, truth in (LAWS | ONSETS).items()}
    rates = [share(each, *TRANSITIONS) for each in found.values()]
    assert max(rates) <= most(0.07, draws), found
    assert np.mean(rates) <= most(0.02, draws * len(rates))


def test_laws_without_onset_are_not_said_to_have_one() -> None:
    draws = 30
    found = {name: verdicts(truth, draws=draws) for name, truth in LAWS.items()}
    rates = [share(each, Verdict.DELAYED_ONSET) for each in found.values()]
    assert max(rates) <= most(0.05, draws), found
    assert np.mean(rates) <= most(0.02, draws * len(rates))


def test_a_late_gradual_fall_is_seen_and_a_width_near_the_limit_is_left_open() -> None:
    gradual = verdicts(knee(0.4, 4, 0.01), draws=30)
    assert share(gradual, Verdict.DELAYED_ONSET) >= least(0.8, 30)
    near = verdicts(jump(2.0, 0.75, 0.6), draws=30)
    assert share(near, Verdict.WIDTH_UNRESOLVED) >= least(0.9, 30)


def test_a_corner_near_the_largest_sizes_has_no_end_and_so_no_width() -> None:
    """Its fall over the last three sizes alone would pass for a narrow jump."""
    assert share(verdicts(knee(1.1, 4, 0.01), draws=60), *TRANSITIONS) <= most(0.07, 60)


def test_without_exact_match_there_is_no_artefact() -> None:
    found = verdicts(power_law(0.7, 1.2), draws=30, exact=False)
    assert set(found) <= {Verdict.SMOOTH, Verdict.INCONCLUSIVE, Verdict.WIDTH_UNRESOLVED}
    assert share(found, Verdict.SMOOTH) >= least(0.9, 30)


def test_no_artefact_stands_beside_a_significant_departure() -> None:
    """Whatever else is known: with p below the level, corrected or not, no verdict denies the jump."""
    rng = np.random.default_rng(4)
    exact = np.exp(-LENGTH * np.linspace(2, 0.05, K))
    for _ in range(300):
        p_alone = rng.uniform(0, 0.05)
        found = Evidence(
            n_sizes=K, p=float(rng.uniform(p_alone, 0.2)), p_alone=p_alone, height=rng.uniform(0, 2),
            share=rng.uniform(0, 1), lower=rng.uniform(0, 1), upper=rng.uniform(0.2, 3),
            onset=rng.random() < 0.5, largest=rng.uniform(0, 1), power=rng.uniform(0, 1), fall_p=0.0,
            gain=None, exact=exact, exact_limit=0.0, effective=None,
        )  # fmt: skip
        assert decide(found) is not Verdict.METRIC_ARTEFACT


@pytest.mark.slow
def test_detection_in_full() -> None:
    draws = 400
    found = detected(draws)
    print("\ndrop  width  alpha  transition, mean over centres 0.5, 0.75 and 1 (smallest)")
    for key in dict.fromkeys(key[:3] for key in found):
        each = [value for name, value in found.items() if name[:3] == key]
        print(f"{key[0]:4}  {key[1]:5}  {key[2]:5}  {np.mean(each):.3f} ({min(each):.3f})")
    print(f"all: {np.mean(list(found.values())):.3f}")
    check_detection(found, draws)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SEED_KINDS)
def test_smooth_curves_in_full(kind: str) -> None:
    draws = 400
    print(f"\n{kind} seeds: share of transitions, delayed onsets, widths not resolved, artefacts")
    kept = (Verdict.DELAYED_ONSET, Verdict.WIDTH_UNRESOLVED, Verdict.METRIC_ARTEFACT)
    for name, truth in (LAWS | ONSETS).items():
        found = verdicts(truth, kind, draws)
        rate = share(found, *TRANSITIONS)
        print(f"{name:44} {rate:.3f} " + " ".join(f"{share(found, verdict):.3f}" for verdict in kept))
        assert rate <= most(0.07, draws), name
        if name in LAWS:
            assert share(found, Verdict.DELAYED_ONSET) <= most(0.07, draws), name
