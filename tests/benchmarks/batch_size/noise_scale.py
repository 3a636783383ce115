"""What the gradient noise scale says of the best batch size, beside what training at every size says.

python noise_scale.py    (needs steps_to_target.json)

McCandlish et al. 2018 (arXiv 1812.06162): the steps to a loss fall with the batch size B as 1 + B_crit / B, and B_crit
is about tr(Sigma) / |G|^2, from the squared norms of gradients at two batch sizes (their appendix A.1); for Adam in the
metric that it steps in. Here: B_crit fitted to the grid, and the noise scale after some steps of a short training.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lr_suite")]
from grid import forever  # noqa: E402  (of lr_suite)
from steps_to_target import TASKS  # noqa: E402

MICRO, PARTS = 8, 8  # samples of a micro-batch, and how many make the large batch
MOMENTS = (0, 10, 20, 40, 80, 160)  # steps of 64 samples before a measurement
ROUNDS = 6  # large batches of a measurement


def fitted(sizes):
    """(S_min, B_crit) of the hyperbola that fits the steps of all sizes best, in logarithms."""
    points = [(int(size), min(s for s in rates.values() if s is not None)) for size, rates in sizes.items()
              if any(s is not None for s in rates.values())]  # fmt: skip
    best = None
    for exponent in range(141):
        crit = 2 ** (exponent / 10)
        logs = [math.log(steps / (1 + crit / size)) for size, steps in points]
        centre = sum(logs) / len(logs)
        error = sum((value - centre) ** 2 for value in logs)
        if best is None or error < best[0]:
            best = error, math.exp(centre), crit
    return best[1], best[2], math.sqrt(best[0] / len(points))


def gradient(work, x, y, parameters):
    work["optimizer"].zero_grad()
    work["loss_fn"](work["model"](x), y).backward()
    return [p.grad.detach().clone() if p.grad is not None else torch.zeros_like(p) for p in parameters]


def scales(work, parameters):
    """The metric that the optimizer steps in: 1 for SGD, 1 / (sqrt(v) + eps) for Adam's family."""
    state = work["optimizer"].state
    return [
        1.0 / (state[p]["exp_avg_sq"].sqrt() / math.sqrt(1 - 0.999 ** float(state[p]["step"])) + 1e-8)
        if "exp_avg_sq" in state.get(p, {}) else torch.ones_like(p)
        for p in parameters
    ]  # fmt: skip


def noise(work, batches, parameters, metric):
    """tr(Sigma) and |G|^2, each averaged over rounds before the quotient is taken, as the paper has it."""
    trace = square = 0.0
    for _ in range(ROUNDS):
        x, y = next(batches)
        parts = [gradient(work, a, b, parameters) for a, b in zip(x.split(MICRO), y.split(MICRO))]
        whole = [sum(tensors) / len(parts) for tensors in zip(*parts)]
        small = sum(norm(part, metric) for part in parts) / len(parts)
        large = norm(whole, metric)
        b, B = MICRO, MICRO * len(parts)  # noqa: N806
        square += (B * large - b * small) / (B - b)
        trace += (small - large) / (1 / b - 1 / B)
    return trace, square


def norm(gradients, metric):
    return float(sum((g * g * m).sum() for g, m in zip(gradients, metric)))


def measured(build, rate):
    """The noise scale at each of the moments."""
    work = build(seed=5, batch_size=MICRO * PARTS)
    parameters = [p for group in work["optimizer"].param_groups for p in group["params"]]
    for group in work["optimizer"].param_groups:
        group["lr"] = rate
    batches, found, step = forever(work["train_loader"]), {}, 0
    for moment in MOMENTS:
        while step < moment:
            x, y = next(batches)
            gradient(work, x, y, parameters)
            work["optimizer"].step()
            step += 1
        saved = [p.grad for p in parameters]
        trace, square = noise(work, batches, parameters, scales(work, parameters))
        found[moment] = trace / square if square > 0 else math.inf
        for p, g in zip(parameters, saved):
            p.grad = g
    return found


def main():
    torch.set_num_threads(1)
    grid = json.loads((HERE / "steps_to_target.json").read_text())
    for name, task in grid.items():
        steps, crit, error = fitted(task["sizes"])
        module, _ = TASKS[name]
        rates = {float(r): s for r, s in task["sizes"]["64"].items() if s is not None}
        found = measured(getattr(importlib.import_module(module), name), min(rates, key=rates.get))
        told = "  ".join(f"{moment}: {value:7.1f}" for moment, value in found.items())
        print(f"{name:22} B_crit {crit:7.1f} (S_min {steps:6.1f}, off by {error:.2f})   noise at {told}", flush=True)


if __name__ == "__main__":
    main()
