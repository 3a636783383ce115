"""How much longer training takes with a recommended batch size than with the best one.

python regret.py [--tasks NAME ...] [--times N]    (make bench-batch)

The truth is steps_to_target.json: the steps to a target loss at every size, each with its own best rate. Times the
seconds of a step, which are measured here, that is how long a size takes; the regret of a size is what it takes longer
than the best. It is told for what lrscout recommends, for the largest size that fits, for the fastest, and for 32; then
again for made-up accelerators, on which a step takes as long for so many samples as for none of them and those again.

With --times, the first task is searched so many times, beside processes that keep every core busy in spells.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

HERE = Path(__file__).resolve().parent
SUITE = HERE.parent / "lr_suite"
TRUTH: dict[str, Any] = json.loads((HERE / "steps_to_target.json").read_text())
sys.path[:0] = [str(HERE), str(SUITE)]

import torch  # noqa: E402
from grid import forever  # noqa: E402  (of lr_suite)
from steps_to_target import TASKS  # noqa: E402

from lrscout.results import StepTiming  # noqa: E402
from lrscout.search.goodput import OBJECTIVES, least_time  # noqa: E402

KNEES = (64, 512, 4096)  # samples whose time is that of an empty step
ROUNDS, BLOCK_SECONDS = 4, 0.3  # of timing each size
BUSY = """
import random, time
while True:
    end = time.time() + random.uniform(0.3, 3)
    while time.time() < end:
        pass
    time.sleep(random.uniform(0.3, 3))
"""


def steps_of(task: Mapping[str, Any]) -> dict[int, float]:
    """The steps to the target at every size, at its best rate."""
    reached = {int(size): [s for s in rates.values() if s is not None] for size, rates in task["sizes"].items()}
    return {size: min(found) for size, found in sorted(reached.items()) if found}


def critical_size(steps: Mapping[int, float]) -> float:
    """The N of the curve 1 + N / B that fits the steps at sizes B best, in logarithms."""

    def error(critical: float) -> float:
        logs = [math.log(each / (1 + critical / size)) for size, each in steps.items()]
        return sum((value - mean(logs)) ** 2 for value in logs)

    return min((2 ** (exponent / 10) for exponent in range(141)), key=error)


def between(known: Mapping[int, float], size: int) -> float:
    """The value at a size, on the line through its neighbours in logarithms."""
    if size in known:
        return known[size]
    below, above = max(s for s in known if s < size), min((s for s in known if s > size), default=None)
    if above is None:
        return known[below]
    share = math.log(size / below) / math.log(above / below)
    return math.exp((1 - share) * math.log(known[below]) + share * math.log(known[above]))


def seconds_of(name: str, sizes: list[int]) -> dict[int, float]:
    """The seconds of a step at every size: the median of some steps, in the best of some rounds."""
    build = getattr(importlib.import_module(TASKS[name][0]), name)
    loops = {}
    for size in sizes:
        work = build(seed=0, batch_size=size)
        loops[size] = work, forever(work["train_loader"])
    best: dict[int, float] = {}
    for _ in range(ROUNDS):
        for size, (work, batches) in loops.items():
            taken, began = [], time.perf_counter()
            while len(taken) < 2 or time.perf_counter() - began < BLOCK_SECONDS:
                started = time.perf_counter()
                x, y = next(batches)
                work["optimizer"].zero_grad()
                work["loss_fn"](work["model"](x), y).backward()
                work["optimizer"].step()
                taken.append(time.perf_counter() - started)
            best[size] = min(best.get(size, math.inf), sorted(taken)[len(taken) // 2])
    # a smaller batch takes no longer than a larger one: if it seems to, the machine was busy
    return {size: min(seconds for other, seconds in best.items() if other >= size) for size in best}


def searched(name: str, *options: str) -> dict[str, Any]:
    """What the command finds for a task."""
    target = [f"{SUITE / (TASKS[name][0] + '.py')}:{name}", "--device", "cpu", "--min", "8", "--max", "2048"]
    done = subprocess.run(
        [sys.executable, "-m", "lrscout", "find-batch-size", *target, *options, "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode != 0:
        sys.exit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    return result


def choices(timings: list[StepTiming], scale: float | None) -> dict[str, int]:
    """The size that each way to choose one takes, among timed sizes."""
    return {
        "lrscout": OBJECTIVES["time"](timings, scale).batch_size,
        "largest": max(timing.batch_size for timing in timings),
        "fastest": least_time(timings, None).batch_size,
        "32": 32,
    }


def regrets(steps: Mapping[int, float], seconds: Mapping[int, float], chosen: Mapping[str, int]) -> dict[str, float]:
    """What every choice takes longer than the best of all sizes, as a share of that."""
    cost = {size: steps[size] * seconds[size] for size in steps if size in seconds}
    return {way: between(cost, size) / min(cost.values()) - 1 for way, size in chosen.items()}


def table(title: str, rows: Mapping[str, tuple[dict[str, int], dict[str, float]]]) -> None:
    ways = list(next(iter(rows.values()))[0])
    print(f"\n{title}\n{'':22}" + "".join(f"{way:>16}" for way in ways))
    for name, (chosen, regret) in rows.items():
        print(f"{name:22}" + "".join(f"{chosen[way]:>8} {regret[way]:>7.0%}" for way in ways))
    all_regrets = {way: [regret[way] for _, regret in rows.values()] for way in ways}
    print(f"{'mean':22}" + "".join(f"{mean(all_regrets[way]):>16.0%}" for way in ways))
    print(f"{'worst':22}" + "".join(f"{max(all_regrets[way]):>16.0%}" for way in ways), flush=True)


def on_accelerator(sizes: list[int], knee: int, scale: float) -> tuple[dict[int, float], dict[str, int]]:
    """The seconds of a step on a made-up accelerator, and the choices there."""
    seconds = {size: 1 + size / knee for size in sizes}
    timings = [StepTiming(size, size, each, each, each, 12) for size, each in seconds.items()]
    return seconds, choices(timings, scale)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=list(TRUTH), choices=list(TRUTH))
    parser.add_argument("--times", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.times:
        stability(args.tasks[0], args.times)
        return
    here, made_up = {}, {knee: {} for knee in KNEES}
    for name in args.tasks:
        steps = steps_of(TRUTH[name])
        result = searched(name)
        seconds = seconds_of(name, list(steps))
        scale = result["noise_scale"]
        fastest = max(steps, key=lambda size: size / seconds[size])
        chosen = {"lrscout": result["batch_size"], "largest": max(steps), "fastest": fastest, "32": 32}
        here[name] = chosen, regrets(steps, seconds, chosen)
        moments = ", ".join(f"{m['noise'] or math.nan:.0f} at {m['step']}" for m in result["noise"]["moments"])
        took = sum(trial["seconds"] for trial in result["trials"])
        print(
            f"{name:22} {chosen['lrscout']:5}  noise scale {scale:6.0f} ({moments}), by the truth"
            f" {critical_size(steps):.0f};"
            f" {took:.0f} s of trials, {result['seconds']:.0f} s in all",
            flush=True,
        )
        for knee in KNEES:
            made, ways = on_accelerator(list(steps), knee, scale)
            made_up[knee][name] = ways, regrets(steps, made, ways)
    table("on this machine, in one thread", here)
    for knee in KNEES:
        table(f"on an accelerator where {knee} samples take as long as an empty step", made_up[knee])


def stability(name: str, times: int) -> None:
    """Search again and again while something else comes and goes."""
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)]
    try:
        found = [searched(name)["batch_size"] for _ in range(times)]
    finally:
        for process in busy:
            process.kill()
    usual = sorted(found)[len(found) // 2]
    near = sum(usual / 2 <= size <= usual * 2 for size in found)
    print(f"{name}, searched {times} times on a busy machine: {found}; {near} of {times} are {usual} or a neighbour")


if __name__ == "__main__":
    main()
