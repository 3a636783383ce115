"""The sums over gradients as a plain loop has them, to hold those of GradientSum against."""

from __future__ import annotations

import torch


def in_metric(parameters, optimizer):
    """The gradients of all parameters in one tensor, in the metric that the optimizer steps in."""
    return torch.cat([_weighted(parameter, optimizer.state[parameter]).flatten() for parameter in parameters])


def _weighted(parameter, state):
    mean_square = state.get("exp_avg_sq", state.get("square_avg"))
    return parameter.grad if mean_square is None else parameter.grad / (mean_square.sqrt() + 1e-8).sqrt()


def totals(gradients):
    """How many there are, the sum of their squared norms, and the squared norm of their sum."""
    total = torch.stack(gradients).sum(0)
    return len(gradients), sum(float(g.square().sum()) for g in gradients), float(total.square().sum())
