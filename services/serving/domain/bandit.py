"""Thompson sampling over arms, with a floor that keeps every arm explored. No I/O.

Thompson (1933, Biometrika 25) plays an arm with the probability that it is the best one under the
posterior. Here that probability becomes the arm's share of the traffic until the next table, so
that sticky keys stay sticky and the propensity of each prediction is the share itself. Total of
[0, 1] are counted into a Beta posterior (Agrawal and Goyal 2012, COLT, section 3: a reward in
between counts as a coin thrown with it; its expectation, which is used here, keeps the mean).
Real-valued rewards have a normal posterior with unknown variance (normal-inverse-gamma).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InvalidInput
from services.serving.domain.driving import Driven
from services.serving.domain.judging import Judged, Measure, Total
from services.serving.domain.traffic import BUCKETS, CHAMPION_ARM

_DRAWS: Final = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class BanditPlan:
    """How a bandit weighs its arms; `floor` is the least share of each, of 10,000.

    `versions` are those of the arms beside the champion. Weights are made anew at most every
    `seconds`, and only when rewards came.
    """

    versions: Mapping[str, int]
    reward: Literal["bernoulli", "gaussian"] = "bernoulli"
    floor: int = 500
    seconds: float = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Bandit(Driven):
    """A bandit as stored.

    Total under tables from `first_table` on count; `judged` of them are in the weights of
    `table`.
    """

    bandit_id: str
    plan: BanditPlan
    running: bool
    first_table: int
    judged: int
    weighed_at: datetime
    outcome: str | None = None

    @property
    def arms(self) -> tuple[str, ...]:
        """Every arm, the champion included."""
        return (*self.plan.versions, CHAMPION_ARM)

    @property
    def watched(self) -> Judged:
        """Predictions under every table since it began, and their rewards as they are."""
        measure = Measure(source="reward", worth="raw")
        return Judged(model=self.model, measure=measure, first=self.first_table)


def check_bandit(plan: BanditPlan) -> None:
    """Raises InvalidInput, naming the field, when a plan cannot be carried out."""
    arms = len(plan.versions) + 1
    if arms < 2 or not 0 <= plan.floor * arms <= BUCKETS:
        raise InvalidInput(
            f"floor: expected at least one arm, and a floor that leaves {arms} arms at most 100 %",
            field="floor",
        )


def weights(
    plan: BanditPlan, earned: Mapping[str, Total], *, random: np.random.Generator
) -> dict[str, int]:
    """Shares of 10,000 for every arm: the probability of being best, mixed with the floor."""
    names = list(earned)
    draws = np.stack([_posterior(plan, earned[name], random) for name in names])
    best = np.bincount(draws.argmax(axis=0), minlength=len(names)) / _DRAWS
    free = BUCKETS - plan.floor * len(names)
    shares = plan.floor + free * best
    return dict(zip(names, _rounded(shares), strict=True))


def _posterior(
    plan: BanditPlan, rewards: Total, random: np.random.Generator
) -> NDArray[np.float64]:
    """Draws of the arm's mean reward."""
    match plan.reward:
        case "bernoulli":
            won = min(max(rewards.total, 0.0), float(rewards.count))
            return random.beta(1 + won, 1 + rewards.count - won, _DRAWS)
        case "gaussian":
            return _normal_means(rewards, random)


def _normal_means(rewards: Total, random: np.random.Generator) -> NDArray[np.float64]:
    """A Student t around the mean; prior of one pseudo-observation at 0 with variance 1."""
    count = rewards.count + 1.0
    mean = rewards.total / count
    spread = max(rewards.squares - count * mean * mean, 0.0)
    shape, scale = 1 + rewards.count / 2, 1 + spread / 2
    variances = scale / random.gamma(shape, 1.0, _DRAWS)
    return random.normal(mean, np.sqrt(variances / count))


def _rounded(shares: NDArray[np.float64]) -> list[int]:
    """Whole buckets that add up: the largest remainders are rounded up."""
    whole = np.floor(shares).astype(int)
    missing = BUCKETS - int(whole.sum())
    order = np.argsort(-(shares - whole), kind="stable")
    whole[order[:missing]] += 1
    return [int(each) for each in whole]
