"""Steps to a target loss for every batch size, each at its own best rate (Shallue et al. 2019, arXiv 1811.03600).

python steps_to_target.py [--only NAME ...] [--seeds N]

A target is nine tenths of the way that a training with size 32 comes at its best rate. Every size then trains at rates
a factor of two apart, from a guess outwards, until the best is neither the lowest nor the highest; the figure of a rate
is the mean number of steps to the target over the seeds, null where one did not get there. The target counts as reached
where two evaluations in a row are at or below it: a size that is evaluated after every step would else profit from
luck. What the file holds already is not trained again. The tasks are those of the learning rates' suite.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
FILE = HERE / "steps_to_target.json"
sys.path.insert(0, str(HERE.parent / "lr_suite"))
from grid import evaluate, forever  # noqa: E402  (of lr_suite)

TASKS = {  # name -> module, epochs of the training that sets the target
    "digits_mlp_sgd": ("tasks", 30),
    "digits_cnn_bn_adamw": ("tasks", 12),
    "mnist1d_conv_adam": ("tasks", 15),
    "cancer_dropout_adam": ("fresh_tasks", 30),
    "digits_vit_adamw": ("fresh_tasks", 30),
    "mnist1d_resnet_sgd": ("fresh_tasks", 10),
    "topics_lstm_adam": ("tasks", 10),
    "gpt2_layers_adamw": ("chosen_tasks", 6),
    "digits_autoencoder_adam": ("tasks", 30),
    "mnist1d_mixer_lion": ("chosen_tasks", 15),
    "diabetes_mlp_sgd": ("tasks", 40),
}
SIZES = [2**k for k in range(3, 12)]
REFERENCE = 32
SHARE = 0.9  # of the fall of the reference's loss, for the target
CHECKS = 8  # of the loss per epoch
MOST_EPOCHS = 6  # times those of the reference, after which a rate has failed
MOST_SECONDS = 240  # of a single training
WARMUP = 10  # steps
SEEDS = (11, 12, 13, 14)


def train(build, size, rate, seed, samples, target=-math.inf):
    """Steps until the held-out loss is at the target, or None; and the lowest loss."""
    work = build(seed=seed, batch_size=size)
    model, optimizer, loss_fn = work["model"], work["optimizer"], work["loss_fn"]
    largest = max(group["lr"] for group in optimizer.param_groups)
    shares = [group["lr"] / largest for group in optimizer.param_groups]
    every = max(1, round(len(work["train_loader"].dataset) / CHECKS / size))
    lowest, before, began = math.inf, math.inf, time.monotonic()
    batches = forever(work["train_loader"])
    step = 0
    while True:
        x, y = next(batches)
        step += 1
        for group, share in zip(optimizer.param_groups, shares):
            group["lr"] = rate * share * min(1.0, step / WARMUP)
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        if step % every == 0:
            now = evaluate(work)
            if max(now, before) <= target:
                return step, lowest
            lowest, before = min(lowest, max(now, before)), now
        late = step % 20 == 0 and time.monotonic() - began > MOST_SECONDS
        if step * size >= samples or late or not math.isfinite(loss.item()):
            return None, lowest


def mean_steps(build, size, rate, seeds, samples, target):
    found = []
    for seed in seeds:
        steps, _ = train(build, size, rate, seed, samples, target)
        if steps is None:
            return None
        found.append(steps)
    return sum(found) / len(found)


def outwards(measure, guess):
    """Measure rates from a guess outwards until the best has a worse one on both sides."""
    known = {}

    def value(k):
        if k not in known:
            known[k] = measure(guess * 2.0**k)
        return known[k] if known[k] is not None else math.inf

    best = min((-1, 0, 1), key=value)
    while len(known) < 9 and math.isfinite(value(best)) and best in (min(known), max(known)):
        value(best - 1 if best == min(known) else best + 1)
        best = min(known, key=value)
    return {guess * 2.0**k: known[k] for k in sorted(known)}


def reference(build, epochs, seed):
    """The loss at the start, the lowest with the reference's size over some rates, and the rate that reached it."""
    work = build(seed=seed, batch_size=REFERENCE)
    initial, samples = evaluate(work), epochs * len(work["train_loader"].dataset)
    own = max(group["lr"] for group in work["optimizer"].param_groups)
    reached = {own * 2.0**k: train(build, REFERENCE, own * 2.0**k, seed, samples)[1] for k in range(-2, 5)}
    best = min(reached, key=reached.get)
    return initial, reached[best], best


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    grid = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name in args.only:
        module, epochs = TASKS[name]
        build = getattr(importlib.import_module(module), name)
        if name not in grid:
            initial, lowest, rate = reference(build, epochs, SEEDS[0])
            samples = len(build(seed=0)["train_loader"].dataset)
            target = initial - SHARE * (initial - lowest)
            grid[name] = {"target": target, "initial": initial, "rate": rate, "samples": samples, "sizes": {}}
        task = grid[name]
        order = sorted((s for s in SIZES if s <= task["samples"]), key=lambda s: abs(math.log2(s / REFERENCE)))
        for size in order:
            if str(size) in task["sizes"]:
                continue
            near = min((int(s) for s in task["sizes"]), key=lambda s: abs(math.log2(s / size)), default=None)
            rates = task["sizes"].get(str(near), {})
            reached = {float(r): steps for r, steps in rates.items() if steps is not None}
            guess = min(reached, key=reached.get) if reached else task["rate"]
            most = MOST_EPOCHS * epochs * task["samples"]
            seeds = SEEDS[: args.seeds]
            began = time.monotonic()
            found = outwards(lambda r: mean_steps(build, size, r, seeds, most, task["target"]), guess)  # noqa: B023
            task["sizes"][str(size)] = {f"{r:.6g}": steps for r, steps in found.items()}
            FILE.write_text(json.dumps(grid, indent=1) + "\n")
            best = min((s for s in found.values() if s is not None), default=None)
            print(f"{name} {size}: {best} steps, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
