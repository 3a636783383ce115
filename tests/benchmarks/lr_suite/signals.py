"""What might tell the rate instead of 60-step trainings, held against the same grids.

    python signals.py [--lengths]

For every task with Adam or AdamW of the suites that constants were chosen on: Prodigy's distance (Mishchenko and
Defazio 2023, arXiv 2306.06101), the rate at which an update is a thousandth of its weights, and the largest stable rate
of the preconditioned step, 38 over the sharpness (Cohen et al. 2022, arXiv 2207.14484). Each may be multiplied by the
one factor that suits all tasks best. With --lengths: constant-rate trainings of several lengths on the chosen
architectures, each read at its lowest loss with one factor for all. `make signals` installs prodigyopt, and runs both.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import statistics
import sys
from pathlib import Path

import torch
from grid import forever, rates_of
from score import best_rate, regret

FOLDER = Path(__file__).resolve().parent
SEEDS = (1, 2)
WARM = 60  # steps at a tenth of the best rate, before the update and the sharpness are looked at
LENGTHS = (40, 60, 80, 100, 150, 200)


def trained(build, seed, rate, steps):
    """The task's parts after training, and its batches."""
    work = build(seed=seed)
    work["model"].train()
    optimizer, batches = work["optimizer"], forever(work["train_loader"])
    largest = max(group["lr"] for group in optimizer.param_groups)
    for group in optimizer.param_groups:
        group["lr"] *= rate / largest
    clip, losses = getattr(build, "settings", {}).get("clip_norm"), []
    for _ in range(steps):
        x, y = next(batches)
        optimizer.zero_grad()
        loss = work["loss_fn"](work["model"](x), y)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], clip)
        optimizer.step()
    return work, batches, losses


def distance(build, seed):
    from prodigyopt import Prodigy

    work = build(seed=seed)
    work["model"].train()
    own = work["optimizer"].defaults
    parameters = [p for group in work["optimizer"].param_groups for p in group["params"]]
    optimizer = Prodigy(parameters, lr=1.0, betas=own["betas"], weight_decay=own["weight_decay"])
    batches = forever(work["train_loader"])
    for _ in range(100):
        x, y = next(batches)
        optimizer.zero_grad()
        work["loss_fn"](work["model"](x), y).backward()
        optimizer.step()
    return optimizer.param_groups[0]["d"]


def update_ratio(build, seed, rate):
    """The rate at which the median matrix changes by a thousandth of its norm."""
    work, batches, _ = trained(build, seed, rate, WARM)
    optimizer = work["optimizer"]
    matrices = [p for group in optimizer.param_groups for p in group["params"] if p.dim() >= 2]
    before = [p.detach().clone() for p in matrices]
    x, y = next(batches)
    optimizer.zero_grad()
    work["loss_fn"](work["model"](x), y).backward()
    optimizer.step()
    ratios = [((p.detach() - old).norm() / (old.norm() + 1e-12)).item() for p, old in zip(matrices, before)]
    return 1e-3 * rate / statistics.median(ratios)


def stable_rate(build, seed, rate, iterations=15):
    """38 over the largest eigenvalue of the Hessian between the square roots of Adam's denominators."""
    work, batches, _ = trained(build, seed, rate, WARM)
    optimizer = work["optimizer"]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    correction = 1 - optimizer.defaults["betas"][1] ** WARM
    scales = [((optimizer.state[p]["exp_avg_sq"] / correction).sqrt() + 1e-8).sqrt() for p in parameters]
    x, y = next(batches)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # the others have no second derivative
        loss = work["loss_fn"](work["model"](x), y)
        gradients = torch.autograd.grad(loss, parameters, create_graph=True)
        vector, sharpness = [torch.randn_like(p) for p in parameters], 0.0
        for _ in range(iterations):
            norm = math.sqrt(sum((v * v).sum().item() for v in vector))
            vector = [v / norm for v in vector]
            along = sum((g * v / s).sum() for g, v, s in zip(gradients, vector, scales))
            product = [h / s for h, s in zip(torch.autograd.grad(along, parameters, retain_graph=True), scales)]
            sharpness = sum((v * h).sum().item() for v, h in zip(vector, product))
            vector = [h.detach() for h in product]
    return 38 / abs(sharpness)


def compare(found, grids, schedule="cosine"):
    """The best common factor, and the regrets with it: found is {(task, seed): rate}."""

    def regrets(factor):
        return [regret(grids[task], schedule, rate * 10**factor) for (task, _), rate in found.items()]

    factor = min((k / 20 for k in range(-60, 61)), key=lambda factor: statistics.fmean(regrets(factor)))
    values = regrets(factor)
    return f"times 10^{factor:+.2f}: mean regret {statistics.fmean(values):.3f}, worst {max(values):.3f}"


def lowest_of(build, seed, rates, lengths):
    """The rate of lowest loss at every length, by a parabola through the best of the grid and its neighbours."""
    from lrscout.search.probing import WINDOW, vertex

    runs = [trained(build, seed, rate, max(lengths))[2] for rate in rates]
    found = {}
    for length in lengths:
        whole = [len(losses) >= length and all(map(math.isfinite, losses[:length])) for losses in runs]
        ended = [statistics.fmean(run[length - WINDOW : length]) if ok else None for run, ok in zip(runs, whole)]
        worst = max(loss for loss in ended if loss is not None)
        levels = [worst if loss is None else loss for loss in ended]
        at = levels.index(min(levels))
        around = levels[at - 1 : at + 2] if 0 < at < len(levels) - 1 else (None, None, None)
        found[length] = rates[at] * (rates[1] / rates[0]) ** vertex(*around)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", action="store_true", help="constant-rate trainings of several lengths instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    suites = {"chosen_tasks": "chosen_grid.json", "tasks": "open_grid.json", "own_tasks": "own_grid.json"}
    grids, tasks = {}, []
    for name in ["chosen_tasks"] if arguments.lengths else suites:
        grids |= json.loads((FOLDER / suites[name]).read_text())
        tasks += [(importlib.import_module(name), task) for task in importlib.import_module(name).TASKS]
    if arguments.lengths:
        found = {(t.__name__, s): lowest_of(t, s, rates_of(m, t.__name__), LENGTHS) for m, t in tasks for s in SEEDS}
        for length in LENGTHS:
            rates = {key: by_length[length] for key, by_length in found.items()}
            for schedule in ("constant", "cosine"):
                print(f"{length} steps, {schedule}: {compare(rates, grids, schedule)}", flush=True)
        return
    adam = [task for _, task in tasks if type(task(seed=1)["optimizer"]) in (torch.optim.Adam, torch.optim.AdamW)]
    for title, signal in (
        ("Prodigy's distance", lambda task, seed, rate: distance(task, seed)),
        ("an update of 1/1000", update_ratio),
        ("38 / sharpness", stable_rate),
    ):
        rates = {
            (t.__name__, s): signal(t, s, best_rate(grids[t.__name__], "cosine") / 10) for t in adam for s in SEEDS
        }
        print(f"{title}, {len(adam)} tasks: {compare(rates, grids)}", flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(FOLDER))
    main()
