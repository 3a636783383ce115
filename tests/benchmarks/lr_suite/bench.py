"""How much of the achievable improvement does training with a suggested rate leave on the table?

`make bench-lr`: sweeps every task of the suite with every rule of lrscout, and prints them beside the peers. What
training reaches at each rate is read from the stored grids (`grid.py` made them), what the peers suggest from their
stored figures (`peers.py` made those). Regret: 0 is the best rate of the grid, 1 nothing learned (`score.py`).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SEEDS = (1, 2, 3)
SUITES = {"open": "tasks", "own": "own_tasks"}
PEERS = {
    "Lightning": "lightning",
    "torch-lr-finder": "torch_lr_finder",
    "fastai valley": "fastai_valley",
    "fastai slide": "fastai_slide",
    "fastai minimum": "fastai_minimum",
    "fastai steep": "fastai_steep",
    "optimizer's default": "optimizer_default",
}


def sweep(job):
    """One task and seed: the JSON of one lrscout sweep."""
    module, name, seed, settings = job
    import torch

    import lrscout

    torch.set_num_threads(1)
    build = getattr(importlib.import_module(module), name)
    return lrscout.find_lr(build(seed=seed), seed=seed, **settings).record


def measure(module, settings, jobs):
    """Every task's records by seed."""
    names = [task.__name__ for task in importlib.import_module(module).TASKS]
    work = [(module, name, seed, settings) for name in names for seed in SEEDS]
    with ProcessPoolExecutor(jobs) as pool:
        found = list(pool.map(sweep, work))
    return {name: {seed: found[i * len(SEEDS) + j] for j, seed in enumerate(SEEDS)} for i, name in enumerate(names)}


def rows_of(records, peers, grid):
    """{name: {schedule: [regret per task and seed]}} with the steps spent, lrscout's rules first."""
    from score import SCHEDULES, regret

    rows = {}

    def add(name, task, rate, steps):
        row = rows.setdefault(name, {"steps": [], **{s: {} for s in SCHEDULES}})
        row["steps"].append(steps)
        for schedule in SCHEDULES:
            row[schedule].setdefault(task, []).append(regret(grid[task], schedule, rate))

    for task, by_seed in records.items():
        for seed, record in by_seed.items():
            for rule, rate in record.result.suggestions.items():
                add(f"lrscout {rule}", task, rate, record.result.steps)
            for title, key in PEERS.items():
                peer = peers[task][str(seed)]
                steps = peer.get(f"{key.split('_')[0] if key.startswith('fastai') else key}_steps", 0)
                add(title, task, peer.get(key), steps)
    return rows


def figures(by_task):
    """Mean over tasks, then median, 90th percentile, worst and the share within 5 % over tasks and seeds."""
    means = [sum(values) / len(values) for values in by_task.values()]
    every = sorted(value for values in by_task.values() for value in values)
    return {
        "mean": sum(means) / len(means),
        "median": every[len(every) // 2],
        "p90": every[min(len(every) - 1, int(0.9 * len(every)))],
        "worst": every[-1],
        "within_5_percent": sum(value <= 0.05 for value in every) / len(every),
    }


def table(rows):
    """The rows as Markdown; each figure for a constant rate | for the peak of a cosine."""
    head = ["", "mean", "median", "90th percentile", "worst", "within 5 %", "steps"]
    lines = [head, ["---"] * len(head)]
    for name, row in rows.items():
        constant, cosine = figures(row["constant"]), figures(row["cosine"])
        cells = [f"{constant[k]:.3f} / {cosine[k]:.3f}" for k in ("mean", "median", "p90", "worst")]
        within = f"{constant['within_5_percent']:.0%} / {cosine['within_5_percent']:.0%}"
        lines.append([name, *cells, within, f"{sum(row['steps']) / len(row['steps']):.0f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    sys.path.insert(0, str(FOLDER))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])
    started, kept = time.perf_counter(), {}
    for suite, module in SUITES.items():
        grid, peers = (json.loads((FOLDER / f"{suite}_{kind}.json").read_text()) for kind in ("grid", "peers"))
        rows = rows_of(measure(module, {}, arguments.jobs), peers, grid)
        print(f"\n{suite} tasks ({len(grid)}), seeds {SEEDS}; regret for a constant rate / the peak of a cosine\n")
        print(table(rows), flush=True)
        kept[suite] = {
            n: {s: {**figures(r[s]), "by_task": r[s]} for s in ("constant", "cosine")} for n, r in rows.items()
        }
    print(f"\n{time.perf_counter() - started:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
