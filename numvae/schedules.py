"""Step-size schedules: schedule(step) is the factor by which an optimiser's step size is multiplied at that step.

Steps count from 0, so every schedule but a warm-up begins at 1.  A schedule is a frozen dataclass of plain numbers:
it has no state, its repr round-trips, and a resumed run needs nothing but the step it stopped at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from numvae.ranges import require_number, require_whole

Schedule: TypeAlias = Callable[[int], float]
"""Takes the number of steps made so far, returns the factor for the next one."""


@dataclass(frozen=True)
class Constant:
    """factor = 1 (schedules.1).

    >>> Constant()(1000)
    1.0
    """

    def __call__(self, step: int) -> float:
        return 1.0  # (schedules.1)


@dataclass(frozen=True)
class InverseTime:
    """factor = (1 + rate * step)**-power (schedules.2), the Robbins-Monro schedule for 1/2 < power <= 1.

    Only then do the steps sum to infinity (any optimum can be reached) and their squares not (the noise averages out).
    Robbins and Monro (1951).

    >>> InverseTime(rate=0.5)(2)
    0.5
    """

    rate: float
    power: float = 1.0

    def __post_init__(self) -> None:
        require_number(self, "rate", "[0, inf)", example=0.001)
        require_number(self, "power", "(0, inf)", example=1.0)

    def __call__(self, step: int) -> float:
        return float((1 + self.rate * step) ** -self.power)  # (schedules.2)


@dataclass(frozen=True)
class Exponential:
    """factor = decay**(step / steps) (schedules.3): multiplied by `decay` once in every `steps` steps, smoothly.

    >>> Exponential(decay=0.5, steps=100)(200)
    0.25
    """

    decay: float
    steps: int

    def __post_init__(self) -> None:
        require_number(self, "decay", "(0, 1]", example=0.5)
        require_whole(self, "steps", least=1, example=1000)

    def __call__(self, step: int) -> float:
        return float(self.decay ** (step / self.steps))  # (schedules.3)


@dataclass(frozen=True)
class Cosine:
    """factor = floor + (1 - floor) (1 + cos(pi min(step / steps, 1))) / 2 (schedules.4).

    Half a cosine wave from 1 down to `floor`, where it stays.  Loshchilov and Hutter (2017, SGDR), equation (5).

    >>> round(Cosine(steps=100, floor=0.2)(50), 12)
    0.6
    """

    steps: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        require_whole(self, "steps", least=1, example=10000)
        require_number(self, "floor", "[0, 1]", example=0.0)

    def __call__(self, step: int) -> float:
        progress = min(step / self.steps, 1.0)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2  # (schedules.4)


@dataclass(frozen=True)
class WarmUp:
    """factor = (step + 1) / steps while step < steps, after that then(step - steps) (schedules.5).

    A straight climb that spares the first steps, taken with moments still noisy, then any schedule from its start.

    >>> WarmUp(steps=4)(0), WarmUp(steps=4)(9)
    (0.25, 1.0)
    """

    steps: int
    then: Schedule = Constant()

    def __post_init__(self) -> None:
        require_whole(self, "steps", least=1, example=500)

    def __call__(self, step: int) -> float:
        return (step + 1) / self.steps if step < self.steps else self.then(step - self.steps)  # (schedules.5)


@dataclass(frozen=True)
class Milestones:
    """factor = drop**(number of milestones <= step) (schedules.6).

    >>> Milestones(at=(100, 200), drop=0.5)(250)
    0.25
    """

    at: tuple[int, ...]
    drop: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", tuple(self.at))  # JSON knows lists only
        require_whole(self, "at", least=0, example=(1000, 2000))
        require_number(self, "drop", "(0, 1]", example=0.1)

    def __call__(self, step: int) -> float:
        return float(self.drop ** sum(milestone <= step for milestone in self.at))  # (schedules.6)


@dataclass(frozen=True)
class Stages:
    """factor = last**(i / (stages - 1)) in stage i = 0, 1, …, which has growth**i passes (schedules.7).

    A pass through the data has `pass_steps` steps; the last stage goes on for ever.  The defaults are those of Burda et
    al. (2015, section 5): 10**(-i/7) for 3**i passes, i = 0 to 7, 3280 passes in all.

    >>> Stages(pass_steps=100)(100) == 10 ** (-1 / 7)  # after the one pass of stage 0
    True
    """

    pass_steps: int
    stages: int = 8
    growth: int = 3
    last: float = 0.1

    def __post_init__(self) -> None:
        require_whole(self, "pass_steps", least=1, example=3000)
        require_whole(self, "stages", least=2, example=8)
        require_whole(self, "growth", least=1, example=3)
        require_number(self, "last", "(0, 1]", example=0.1)

    def __call__(self, step: int) -> float:
        stage, end = 0, self.pass_steps
        while step >= end and stage < self.stages - 1:
            stage += 1
            end += self.pass_steps * self.growth**stage
        return float(self.last ** (stage / (self.stages - 1)))  # (schedules.7)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": Constant,
    "inverse_time": InverseTime,
    "exponential": Exponential,
    "cosine": Cosine,
    "warm_up": WarmUp,
    "milestones": Milestones,
    "stages": Stages,
}
"""Names for the border: command line and JSON."""
