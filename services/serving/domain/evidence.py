"""An always-valid comparison of two arms: it may be looked at after every request. No I/O.

Every observation is a loss in [0, 1]: an error or none, a slow answer or none, a bounded distance
to the label. For such observations with mean m, and any q,

    (q/m)^x ((1-q)/(1-m))^(1-x)

has an expectation of at most 1, since it is convex in x. Averaged over q from a Beta(a, b), the
product over observations is a supermartingale that starts at 1 and depends on their number n and
sum s alone:

    M(m) = B(a + s, b + n - s) / (B(a, b) m^s (1-m)^(n-s)).

By Ville's inequality M(m) reaches 1/alpha ever with a probability of at most alpha. So the m with
M(m) < 1/alpha are a confidence sequence: an interval that holds the mean at all times at once.
This is the mixture sequential probability ratio test of Robbins (1970, Annals of Mathematical
Statistics 41(5)), in the beta-binomial form of Howard, Ramdas, McAuliffe and Sekhon (2021, Annals
of Statistics 49(2), "Time-uniform, nonparametric, nonasymptotic confidence sequences"), for
experiments that are peeked at as in Johari, Koomen, Pekelis and Walsh (2022, Operations Research
70(3), "Always Valid Inference"). It needs losses whose mean, given what came before, stays the same
while they are collected; hence arms are compared within one table only, where both see the same
hours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, lgamma, log
from typing import Final

from headrace.errors import InvalidInput

_PRIOR_A: Final = 0.5
_PRIOR_B: Final = 0.5
_STEPS: Final = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """`count` losses in [0, 1] that sum up to `total`."""

    count: int
    total: float

    @property
    def mean(self) -> float | None:
        """Mean loss; None of nothing."""
        return self.total / self.count if self.count else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """Values between which something lies, ends included."""

    low: float
    high: float


def log_evidence(observed: Observed, mean: float) -> float:
    """Natural logarithm of M(mean): how strongly the observations speak against this mean."""
    successes, failures = _split(observed)
    return _log_mixture(successes, failures) - _log_likelihood(successes, failures, mean)


def confidence(observed: Observed, *, alpha: float) -> Range:
    """Where the mean is, at all times at once, but for a probability of `alpha`."""
    if not 0 < alpha < 1:
        raise InvalidInput(f"alpha: expected between 0 and 1, got {alpha}", field="alpha")
    if observed.count == 0:
        return Range(low=0.0, high=1.0)
    successes, failures = _split(observed)
    middle = successes / observed.count
    least = _log_mixture(successes, failures) + log(alpha)

    def plausible(mean: float) -> bool:
        return _log_likelihood(successes, failures, mean) > least

    return Range(
        low=0.0 if plausible(0.0) else _edge(plausible, inside=middle, outside=0.0),
        high=1.0 if plausible(1.0) else _edge(plausible, inside=middle, outside=1.0),
    )


def difference(challenger: Observed, champion: Observed, *, alpha: float) -> Range:
    """Where the challenger's mean loss minus the champion's is; each arm spends half of alpha."""
    ours = confidence(challenger, alpha=alpha / 2)
    theirs = confidence(champion, alpha=alpha / 2)
    return Range(low=ours.low - theirs.high, high=ours.high - theirs.low)


def p_value(challenger: Observed, champion: Observed, *, tolerance: float) -> float:
    """The least alpha at which the challenger is proven worse than `tolerance`; 1 at most.

    An always-valid p-value for reports: it may be read at any time.
    """
    low, high = log(1e-12), 0.0
    if difference(challenger, champion, alpha=1 - 1e-9).low <= tolerance:
        return 1.0
    for _ in range(30):
        middle = (low + high) / 2
        if difference(challenger, champion, alpha=exp(middle)).low > tolerance:
            high = middle
        else:
            low = middle
    return exp(high)


def _split(observed: Observed) -> tuple[float, float]:
    total = min(max(observed.total, 0.0), float(observed.count))
    return total, observed.count - total


def _log_mixture(successes: float, failures: float) -> float:
    return _log_beta(_PRIOR_A + successes, _PRIOR_B + failures) - _log_beta(_PRIOR_A, _PRIOR_B)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _log_likelihood(successes: float, failures: float, mean: float) -> float:
    if (successes and mean <= 0.0) or (failures and mean >= 1.0):
        return float("-inf")
    return (successes * log(mean) if successes else 0.0) + (
        failures * log(1 - mean) if failures else 0.0
    )


def _edge(plausible: Callable[[float], bool], *, inside: float, outside: float) -> float:
    """Where plausible values end, between one that is and one that is not; never too narrow."""
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if plausible(middle):
            inside = middle
        else:
            outside = middle
    return outside
