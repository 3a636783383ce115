"""Sums over the gradients of several steps, from which their noise is told; here and in our own sessions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

SECOND_MOMENTS = ("exp_avg_sq", "square_avg")  # where Adam's family and RMSprop keep the mean squared gradient
EPSILON = 1e-8


class GradientSum:
    """Adds up the gradients that an optimizer is about to step with, in the metric that it steps in.

    For an optimizer that divides by the root of the mean squared gradient v, a gradient counts as g / v^(1/4), so that
    a product of two is g' v^(-1/2) g (McCandlish et al. 2018, appendix A.2). A clipped gradient counts as it is.
    """

    def __init__(self) -> None:
        self._sums: dict[int, Tensor] = {}  # by the parameter's id
        self._squares: Any = 0.0
        self._counts: dict[int, int] = {}  # by the optimizer's id: several take a step together

    def note(self, optimizer: Optimizer, *_: Any) -> None:
        """Take in its gradients; to be called before it steps."""
        self._counts[id(optimizer)] = self._counts.get(id(optimizer), 0) + 1
        key = _second_moment(optimizer)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._add(parameter, optimizer.state[parameter][key] if key is not None else None)

    @torch.no_grad()
    def _add(self, parameter: Tensor, second_moment: Tensor | None) -> None:
        assert parameter.grad is not None
        gradient = _local(parameter.grad)
        if second_moment is not None:
            gradient = gradient / (_local(second_moment).sqrt() + EPSILON).sqrt()
        self._squares = self._squares + gradient.square().sum()
        known = self._sums.get(id(parameter))
        if known is None:
            self._sums[id(parameter)] = gradient.clone()
        else:
            known.add_(gradient)

    def totals(self) -> tuple[int, float, float]:
        """How many steps there were, the sum of their squared norms, and the squared norm of their sum.

        Where parameters are sharded, the norms are those of this rank's share, and add up over the ranks.
        """
        square = sum(float(total.square().sum()) for total in self._sums.values())
        return max(self._counts.values(), default=0), float(self._squares), square


def _second_moment(optimizer: Optimizer) -> str | None:
    """The key of the mean squared gradient in an optimizer's state, if every parameter with a gradient has it."""
    stepped = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    for key in SECOND_MOMENTS:
        if stepped and all(getattr(optimizer.state.get(p, {}).get(key), "shape", None) == p.shape for p in stepped):
            return key
    return None


def _local(tensor: Tensor) -> Tensor:
    """A gradient as a dense, real tensor of single precision; of a sharded one, the part that is here."""
    if hasattr(tensor, "to_local"):
        tensor = tensor.to_local()
    tensor = tensor.to_dense() if tensor.is_sparse else tensor
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).float()
