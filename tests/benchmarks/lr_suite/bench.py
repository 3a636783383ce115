"""How much of the achievable improvement does training with a suggested rate leave on the table?

`make bench-lr`: searches on every task of the suites with every rule of lrscout, and prints them beside the peers. What
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
TABLES = {
    "architectures that the constants were chosen on": ("chosen",),
    "architectures that no constant was chosen on": ("unseen",),
    "small tasks that the constants were chosen on": ("open", "own", "tail"),
    "small tasks that no constant was chosen on": ("fresh",),
}
MODULES = {"open": "tasks"}  # of the other suites: their name and _tasks
USES = {"constant": ("constant", "constant_warm"), "decay": ("cosine", "cosine_cold")}  # what a rate is for -> grids
LONGER = (2000, 10_000)  # steps of the trainings of the longer grids
REFINE = "645"  # steps of the three trainings; with the rest of the search at most 1245, or two trainings more
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


def module_of(suite):
    return MODULES.get(suite, f"{suite}_tasks")


def search(job):
    """One task and seed: the records of one search, and of a refined one for each use."""
    module, name, seed, refine = job
    import torch

    import lrscout

    torch.set_num_threads(1)
    build = getattr(importlib.import_module(module), name)
    settings = {"seed": seed, **getattr(build, "settings", {})}
    plain = lrscout.find_lr(build(seed=seed), **settings).record
    if not refine:
        return plain, {}
    return plain, {use: lrscout.find_lr(build(seed=seed), use=use, refine=REFINE, **settings).record for use in USES}


def measure(suite, refine, pool):
    """Every task's records by seed."""
    names = [task.__name__ for task in importlib.import_module(module_of(suite)).TASKS]
    work = [(module_of(suite), name, seed, refine) for name in names for seed in SEEDS]
    found = iter(pool.map(search, work))
    return {name: {seed: next(found) for seed in SEEDS} for name in names}


def grid_of(suite, steps=None):
    """What training reaches, by task; empty where no grid of that length was made."""
    path = FOLDER / (f"{suite}_grid.json" if steps is None else f"{suite}_grid_{steps}.json")
    return json.loads(path.read_text()) if path.exists() else {}


class Table:
    """Regrets and steps of every row: {name: {use: {task: [regret per seed and grid]}}}."""

    def __init__(self):
        self.rows = {}
        self.confidence = {}  # level -> [regret]

    def add(self, name, task, entry, rates, steps):
        """`rates` is one rate, or one for each use; returns the regrets."""
        from score import regret

        row = self.rows.setdefault(name, {"steps": [], **{use: {} for use in USES}})
        row["steps"].append(steps)
        found = []
        for use, schedules in USES.items():
            rate = rates[use] if isinstance(rates, dict) else rates
            regrets = [regret(entry, schedule, rate) for schedule in schedules if schedule in entry]
            row[use].setdefault(task, []).extend(regrets)
            found += regrets
        return found

    def add_suite(self, records, grid, peers):
        for task, by_seed in records.items():
            for seed, (plain, refined) in by_seed.items():
                self._add_search(task, grid[task], plain, refined)
                for title, key in PEERS.items():
                    peer = peers[task][str(seed)]
                    steps = peer.get(f"{key.split('_')[0] if key.startswith('fastai') else key}_steps", 0)
                    self.add(title, task, grid[task], peer.get(key), steps)

    def _add_search(self, task, entry, plain, refined):
        regrets = self.add(SCOUT, task, entry, dict(plain.result.uses), plain.result.steps)
        self.confidence.setdefault(plain.result.suggestion.confidence or "none", []).extend(regrets)
        if refined:
            rates = {use: refined[use].result.uses[use] for use in USES}
            self.add(REFINED, task, entry, rates, max(record.result.steps for record in refined.values()))
        for rule, rate in plain.result.suggestions.items():
            if rule != "scout":
                self.add(f"lrscout --rule {rule}", task, entry, rate, plain.result.steps)


class LongerTable(Table):
    """The same at a longer training: what --horizon does, and the peers, which do not know of it."""

    def __init__(self, steps):
        super().__init__()
        self._horizon = steps

    def _add_search(self, task, entry, plain, refined):
        from lrscout.search.scout import horizon_factor

        uses, factor = dict(plain.result.uses), horizon_factor(self._horizon)
        longer = {use: None if rate is None else rate * factor for use, rate in uses.items()}
        self.add(f"lrscout --horizon {self._horizon}", task, entry, longer, plain.result.steps)
        self.add(SCOUT, task, entry, uses, plain.result.steps)


def figures(by_task):
    """Mean over tasks, then median, 90th percentile, worst and the share within 5 % over tasks, seeds and grids."""
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
        constant, decay = (figures(row[use]) for use in USES)
        cells = [f"{constant[k]:.3f} / {decay[k]:.3f}" for k in ("mean", "median", "p90", "worst")]
        within = f"{constant['within_5_percent']:.0%} / {decay['within_5_percent']:.0%}"
        steps = f"{sum(row['steps']) / len(row['steps']):.0f}, {max(row['steps'])}"
        lines.append([name, *cells, within, steps])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def calibration(confidence):
    """How often each level was given, and how often its regret was within 5 % and 10 %."""
    total = sum(map(len, confidence.values()))
    told = []
    for level, found in confidence.items():
        within = (f"{sum(r <= limit for r in found) / len(found):.1%} within {limit:.0%}" for limit in (0.05, 0.10))
        told.append(f"{level}: {len(found) / total:.0%} of the cases, {', '.join(within)}")
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
    started, kept, confidence = time.perf_counter(), {}, {}
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for title, suites in TABLES.items():
            tables = {f"{title}, 400 steps": Table()}
            for suite in suites:
                records = measure(suite, not arguments.no_refine, pool)
                peers = json.loads((FOLDER / f"{suite}_peers.json").read_text())
                tables[f"{title}, 400 steps"].add_suite(records, grid_of(suite), peers)
                for steps in LONGER:
                    longer = grid_of(suite, steps)
                    if longer:
                        table = tables.setdefault(f"{title}, {steps} steps", LongerTable(steps))
                        table.add_suite(
                            {task: found for task, found in records.items() if task in longer}, longer, peers
                        )
            for head, table in tables.items():
                print(f"\n{head}, seeds {SEEDS}; regret for a constant rate / the peak of a cosine\n")
                print(markdown(table.rows), flush=True)
                kept[head] = {n: {u: {**figures(r[u]), "by_task": r[u]} for u in USES} for n, r in table.rows.items()}
                for level, found in table.confidence.items():
                    confidence.setdefault(level, []).extend(found)
                if table.confidence:
                    print(f"\n{calibration(table.confidence)}", flush=True)
    print(f"\nall suites: {calibration(confidence)}")
    print(f"\n{time.perf_counter() - started:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
