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
SUITES = {"open": "tasks", "own": "own_tasks", "fresh": "fresh_tasks"}
TABLES = {
    "the fourteen tasks that the constants were chosen on": ("open", "own"),
    "the eight tasks that no constant was chosen on": ("fresh",),
}
USES = {"constant": "constant", "cosine": "decay"}  # the grid's schedule -> what the suggestion is for
REFINE = "645"  # steps of the three trainings; with the sweeps at most 795
SCOUT, REFINED = "lrscout", f"lrscout --refine {REFINE}"
PEERS = {
    "Lightning": "lightning",
    "torch-lr-finder": "torch_lr_finder",
    "fastai valley": "fastai_valley",
    "fastai slide": "fastai_slide",
    "fastai minimum": "fastai_minimum",
    "fastai steep": "fastai_steep",
    "optimizer's default": "optimizer_default",
}


def search(job):
    """One task and seed: the records of one search, and of a refined one for each use."""
    module, name, seed, refine = job
    import torch

    import lrscout

    torch.set_num_threads(1)
    build = getattr(importlib.import_module(module), name)
    plain = lrscout.find_lr(build(seed=seed), seed=seed).record
    if not refine:
        return plain, {}
    return plain, {
        use: lrscout.find_lr(build(seed=seed), seed=seed, use=use, refine=REFINE).record for use in USES.values()
    }


def measure(suite, refine, pool):
    """Every task's records by seed."""
    names = [task.__name__ for task in importlib.import_module(SUITES[suite]).TASKS]
    work = [(SUITES[suite], name, seed, refine) for name in names for seed in SEEDS]
    found = iter(pool.map(search, work))
    return {name: {seed: next(found) for seed in SEEDS} for name in names}


class Table:
    """Regrets and steps of every row: {name: {schedule: {task: [regret per seed]}}}."""

    def __init__(self):
        self.rows = {}
        self.confidence = {}  # level -> [regret]

    def add(self, name, task, entry, rates, steps):
        """`rates` is one rate, or one for each schedule of the grid."""
        from score import SCHEDULES, regret

        row = self.rows.setdefault(name, {"steps": [], **{s: {} for s in SCHEDULES}})
        row["steps"].append(steps)
        for schedule in SCHEDULES:
            rate = rates[schedule] if isinstance(rates, dict) else rates
            row[schedule].setdefault(task, []).append(regret(entry, schedule, rate))

    def add_suite(self, records, grid, peers):
        for task, by_seed in records.items():
            for seed, (plain, refined) in by_seed.items():
                self._add_search(task, grid[task], plain, refined)
                for title, key in PEERS.items():
                    peer = peers[task][str(seed)]
                    steps = peer.get(f"{key.split('_')[0] if key.startswith('fastai') else key}_steps", 0)
                    self.add(title, task, grid[task], peer.get(key), steps)

    def _add_search(self, task, entry, plain, refined):
        from score import regret

        uses = {schedule: plain.result.uses[use] for schedule, use in USES.items()}
        self.add(SCOUT, task, entry, uses, plain.result.steps)
        level = plain.result.suggestion.confidence or "none"
        self.confidence.setdefault(level, []).extend(regret(entry, schedule, rate) for schedule, rate in uses.items())
        if refined:
            rates = {schedule: refined[use].result.uses[use] for schedule, use in USES.items()}
            self.add(REFINED, task, entry, rates, max(record.result.steps for record in refined.values()))
        for rule, rate in plain.result.suggestions.items():
            if rule != "scout":
                self.add(f"lrscout --rule {rule}", task, entry, rate, plain.result.steps)


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


def markdown(rows):
    """The rows as Markdown; each figure for a constant rate / the peak of a cosine; steps: the mean, and the most."""
    head = ["", "mean", "median", "90th percentile", "worst", "within 5 %", "steps"]
    lines = [head, ["---"] * len(head)]
    for name, row in rows.items():
        constant, cosine = figures(row["constant"]), figures(row["cosine"])
        cells = [f"{constant[k]:.3f} / {cosine[k]:.3f}" for k in ("mean", "median", "p90", "worst")]
        within = f"{constant['within_5_percent']:.0%} / {cosine['within_5_percent']:.0%}"
        steps = f"{sum(row['steps']) / len(row['steps']):.0f}, {max(row['steps'])}"
        lines.append([name, *cells, within, steps])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def calibration(confidence):
    """How often each level was given, and how often its regret was within 5 %."""
    total = sum(map(len, confidence.values()))
    told = [
        f"{level}: {len(found) / total:.0%} of the cases, {sum(r <= 0.05 for r in found) / len(found):.1%} within 5 %"
        for level, found in confidence.items()
    ]
    return "confidence " + "; ".join(told)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--no-refine", action="store_true", help="leave out --refine, which takes most of the time")
    arguments = parser.parse_args()
    sys.path.insert(0, str(FOLDER))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])
    os.environ["OMP_NUM_THREADS"] = "1"  # processes that share their cores wait for each other otherwise
    started, kept = time.perf_counter(), {}
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for title, suites in TABLES.items():
            table = Table()
            for suite in suites:
                grid, peers = (json.loads((FOLDER / f"{suite}_{kind}.json").read_text()) for kind in ("grid", "peers"))
                table.add_suite(measure(suite, not arguments.no_refine, pool), grid, peers)
            print(f"\n{title}, seeds {SEEDS}; regret for a constant rate / the peak of a cosine\n")
            print(markdown(table.rows), f"\n{calibration(table.confidence)}", sep="\n", flush=True)
            kept[title] = {n: {s: {**figures(r[s]), "by_task": r[s]} for s in USES} for n, r in table.rows.items()}
    print(f"\n{time.perf_counter() - started:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
