"""What lrscout costs: its sweep against a bare training loop, its start-up against typer's, the whole command.

`make bench`. Ratios within one run, alternating, since the seconds of one machine mean little on another.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STEPS = 200  # of one timed loop
ROUNDS = 21  # of each loop, alternating; the median counts
STARTS = 5  # of each process

GOALS = {"digits MLP": 1.10, "digits CNN": 1.03, "lrscout --help": 2.0, "whole command": 1.10}

BARE_COMMAND = """
import sys
import torch
sys.path.insert(0, {folder!r})
import digits_cnn
torch.manual_seed(0)
work = digits_cnn.build()
model, loss_fn = work["model"], work["loss_fn"]
optimizer = torch.optim.AdamW(model.parameters())
taken = 0
while taken < {steps}:
    for inputs, target in work["train_loader"]:
        optimizer.zero_grad()
        loss_fn(model(inputs), target).backward()
        optimizer.step()
        taken += 1
        if taken == {steps}:
            break
"""


def digits_mlp(device: str) -> dict[str, Any]:
    """Tiny steps, the batches made beforehand: the worst case for overhead."""
    import torch
    from sklearn.datasets import load_digits

    digits = load_digits()
    inputs = torch.tensor(digits.data, dtype=torch.float32, device=device) / 16
    target = torch.tensor(digits.target, device=device)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)).to(device)
    batches = list(zip(inputs.split(64), target.split(64)))[:-1]
    return {"model": model, "train_loader": batches, "loss_fn": torch.nn.CrossEntropyLoss()}


def digits_cnn(device: str) -> dict[str, Any]:
    """The demo's model on batches made beforehand."""
    sys.path.insert(0, str(ROOT / "recipes"))
    import digits_cnn

    made = digits_cnn.build()
    made["model"].to(device)
    made["train_loader"] = [(x.to(device), y.to(device)) for x, y in made["train_loader"]]
    return {key: made[key] for key in ("model", "train_loader", "loss_fn")}


def bare_loop(work: dict[str, Any]) -> None:
    """What a user would write, the losses kept on the device."""
    import torch

    model, loss_fn = work["model"], work["loss_fn"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-7)
    model.train()
    losses = []
    taken = 0
    while taken < STEPS:
        for inputs, target in work["train_loader"]:
            optimizer.zero_grad()
            loss = loss_fn(model(inputs), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            taken += 1
            if taken == STEPS:
                break
    torch.stack(losses).tolist()


def sweep(work: dict[str, Any]) -> None:
    """The same steps by lrscout, at rates too small to diverge, with the command's progress and record keeping."""
    from lrscout.engine.workload import make_workload
    from lrscout.report.output import Output
    from lrscout.results import Target
    from lrscout.runs.lr.live import LiveTrainer
    from lrscout.runs.lr.observer import LrObserver
    from lrscout.runs.lr.search import search_lr
    from lrscout.settings import FindLrSettings

    class Observer(LrObserver):
        def stepped(self, point: Any, so_far: Any) -> None:
            progress.update(point.step + 1, point.lr, point.loss)

    settings = FindLrSettings(steps=STEPS, min_lr=1e-8, max_lr=1e-6, device=str(device_of(work)))
    with open(os.devnull, "w") as nowhere, Output(None, nowhere).progress(STEPS, "find-lr") as progress:
        trainer = LiveTrainer(make_workload(work), settings, Target(None))
        search_lr(trainer, settings, Observer())


def device_of(work: dict[str, Any]) -> Any:
    return next(work["model"].parameters()).device


def timed(run: Callable[[dict[str, Any]], None], work: dict[str, Any], device: str) -> float:
    import torch

    started = time.perf_counter()
    run(work)
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _pair(work: dict[str, Any], device: str, swapped: bool) -> tuple[float, float]:
    """Seconds of the bare loop and of the sweep, one right after the other, in turns first."""
    order = (sweep, bare_loop) if swapped else (bare_loop, sweep)
    seconds = {run: timed(run, work, device) for run in order}
    return seconds[bare_loop], seconds[sweep]


def step_ratios(device: str) -> dict[str, dict[str, float]]:
    """Seconds per step of the bare loop, and the sweep's over it."""
    found = {}
    for name, build in (("digits MLP", digits_mlp), ("digits CNN", digits_cnn)):
        work = build(device)
        bare_loop(work)
        sweep(work)
        pairs = [_pair(work, device, swapped=bool(i % 2)) for i in range(ROUNDS)]
        found[name] = {
            "microseconds_per_bare_step": statistics.median(bare for bare, _ in pairs) / STEPS * 1e6,
            "ratio": statistics.median(ours / bare for bare, ours in pairs),
            "goal": GOALS[name],
        }
    return found


def start_ratios() -> dict[str, dict[str, float]]:
    """Whole processes: the help text against importing typer, and a sweep against what it cannot do without."""
    python = sys.executable
    cache = tempfile.mkdtemp()
    bare = BARE_COMMAND.format(folder=str(ROOT / "recipes"), steps=100)
    pairs = {
        "lrscout --help": ([python, "-c", "import typer"], [python, "-m", "lrscout", "--help"]),
        "whole command": (
            [python, "-c", bare],
            [python, "-m", "lrscout", "find-lr", "recipes/digits_cnn.py:build", "--no-early-stop"],
        ),
    }
    found = {}
    for name, (base, ours) in pairs.items():
        runs = [(process(base, cache), process(ours, cache)) for _ in range(STARTS)]
        found[name] = {
            "seconds_of_the_base": statistics.median(a for a, _ in runs),
            "ratio": statistics.median(b for _, b in runs) / statistics.median(a for a, _ in runs),
            "goal": GOALS[name],
        }
    return found


def process(command: list[str], cache: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env={**os.environ, "XDG_CACHE_HOME": cache})
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps-only", action="store_true", help="leave the start-up out")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    figures = {**step_ratios(arguments.device), **({} if arguments.steps_only else start_ratios())}
    for name, row in figures.items():
        base = next(iter(row))
        print(f"{name:16} {row['ratio']:.3f} times the base (goal {row['goal']:.2f}); {base} {row[base]:.4g}")
    if arguments.json:
        host = {"python": platform.python_version(), "machine": platform.machine(), "device": arguments.device}
        arguments.json.write_text(json.dumps({"host": host, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
