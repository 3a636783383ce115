"""How the best learning rate changes with the batch size."""

from __future__ import annotations

import math
from collections.abc import Callable

from lrscout.results import ScaledRate

MEASURED = "find-lr"  # what stands in the place of a rule where the rate was measured
PLAIN = ("sgd", "asgd", "lbfgs")  # step along the gradient itself; all others divide by its size
FAR = 16.0  # a factor between batch sizes beyond which no rule is to be trusted

RULES: dict[str, Callable[[float], float]] = {"linear": lambda factor: factor, "square-root": math.sqrt}
"""What the rate is multiplied by where the batch size is multiplied by a factor."""


def rule_for(optimizer: str) -> str:
    """The rule for an optimizer, by the name of its class.

    Linear for SGD (Goyal et al. 2017, https://arxiv.org/abs/1706.02677), the square root for Adam and whatever else
    divides by the size of the gradient (Malladi et al. 2022, https://arxiv.org/abs/2205.10287).
    """
    return "linear" if optimizer.lower() in PLAIN else "square-root"


def scaled_rate(
    lr: float | None, optimizer: str, samples: int, new_samples: int, noise: float | None = None
) -> ScaledRate:
    """The rate for another batch size, both sizes in samples of a step.

    With a known noise scale N, the factor is (1 + N / B) / (1 + N / B'), which is B' / B for small batches and levels
    off beyond N (McCandlish et al. 2018, https://arxiv.org/abs/1812.06162, equation 2.6), under the root for Adam.
    """
    factor = new_samples / samples
    if noise is not None:
        factor = (1 + noise / samples) / (1 + noise / new_samples)
    rule = rule_for(optimizer)
    times = RULES[rule](factor)
    is_far = not 1 / FAR <= new_samples / samples <= FAR
    return ScaledRate(None if lr is None else lr * times, times, rule, is_far)
