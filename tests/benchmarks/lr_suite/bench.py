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
    """One task and seed: what one search found, and a refined one for each use."""
    module, name, seed, refine = job
    import torch

    import lrscout

    torch.set_num_threads(1)
    build = getattr(importlib.import_module(module), name)
    settings = {"seed": seed, **getattr(build, "settings", {})}

    def found(**more):
        result = lrscout.find_lr(build(seed=seed), **settings, **more).result
        return {
            "uses": dict(result.uses),
            "rules": dict(result.suggestions),
            "steps": result.steps,
            "confidence": result.suggestion.confidence or "none",
            "power": {use: horizon_power(result.probing, use) for use in USES},
        }

    from lrscout.search.probing import horizon_power

    return {"plain": found(), **({use: found(use=use, refine=REFINE) for use in USES} if refine else {})}


def measure(suite, refine, pool):
    """Every task's searches by seed."""
    names = [task.__name__ for task in importlib.import_module(module_of(suite)).TASKS]
    work = [(module_of(suite), name, seed, refine) for name in names for seed in SEEDS]
    found = iter(pool.map(search, work))
    return {name: {str(seed): next(found) for seed in SEEDS} for name in names}


def grid_of(suite, steps=None):
    """What training reaches, by task; empty where no grid of that length was made."""
    path = FOLDER / (f"{suite}_grid.json" if steps is None else f"{suite}_grid_{steps}.json")
    found = json.loads(path.read_text()) if path.exists() else {}
    return {
        task: entry for task, entry in found.items() if any(any(entry.get(s, ())) for ss in USES.values() for s in ss)
    }


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
            regrets = [regret(entry, schedule, rate) for schedule in schedules if any(entry.get(schedule, ()))]
            row[use].setdefault(task, []).extend(regrets)
            found += regrets
        return found

    def add_suite(self, searches, grid, peers):
        for task, by_seed in searches.items():
            for seed, found in by_seed.items():
                self._add_search(task, grid[task], found)
                for title, key in PEERS.items():
                    peer = peers[task][seed]
                    steps = peer.get(f"{key.split('_')[0] if key.startswith('fastai') else key}_steps", 0)
                    self.add(title, task, grid[task], peer.get(key), steps)

    def _add_search(self, task, entry, found):
        plain = found["plain"]
        regrets = self.add(SCOUT, task, entry, plain["uses"], plain["steps"])
        self.confidence.setdefault(plain["confidence"], []).extend(regrets)
        if len(found) > 1:
            rates = {use: found[use]["uses"][use] for use in USES}
            self.add(REFINED, task, entry, rates, max(found[use]["steps"] for use in USES))
        for rule, rate in plain["rules"].items():
            if rule != "scout":
                self.add(f"lrscout --rule {rule}", task, entry, rate, plain["steps"])


class LongerTable(Table):
    """The same at a longer training: what --horizon does, and the peers, which do not know of it."""

    def __init__(self, steps):
        super().__init__()
        self._horizon = steps

    def _add_search(self, task, entry, found):
        from lrscout.search.scout import horizon_factor

        plain = found["plain"]
        longer = {
            use: None if rate is None else rate * horizon_factor(self._horizon, plain["power"][use])
            for use, rate in plain["uses"].items()
        }
        self.add(f"lrscout --horizon {self._horizon}", task, entry, longer, plain["steps"])
        self.add(SCOUT, task, entry, plain["uses"], plain["steps"])


def figures(by_task):
    """Mean over tasks, then median, 90th percentile, worst and the share within 5 % over tasks, seeds and grids."""
    by_task = {task: values for task, values in by_task.items() if values}  # not every grid has every schedule
    if not by_task:
        return dict.fromkeys(("mean", "median", "p90", "worst", "within_5_percent"), float("nan"))
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
    parser.add_argument("--searches", type=Path, help="keep the searches here, and take those that are there already")
    parser.add_argument("--no-refine", action="store_true", help="leave out --refine, which takes most of the time")
    arguments = parser.parse_args()
    sys.path.insert(0, str(FOLDER))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(FOLDER), os.environ.get("PYTHONPATH", "")])
    os.environ["OMP_NUM_THREADS"] = "1"  # processes that share their cores wait for each other otherwise
    started, kept, confidence = time.perf_counter(), {}, {}
    there = arguments.searches is not None and arguments.searches.exists()
    known = json.loads(arguments.searches.read_text()) if there else {}
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for title, suites in TABLES.items():
            tables = {f"{title}, 400 steps": Table()}
            for suite in suites:
                if suite not in known:
                    known[suite] = measure(suite, not arguments.no_refine, pool)
                    if arguments.searches is not None:
                        arguments.searches.write_text(json.dumps(known) + "\n")
                searches = known[suite]
                peers = json.loads((FOLDER / f"{suite}_peers.json").read_text())
                tables[f"{title}, 400 steps"].add_suite(searches, grid_of(suite), peers)
                for steps in LONGER:
                    longer = grid_of(suite, steps)
                    if longer:
                        table = tables.setdefault(f"{title}, {steps} steps", LongerTable(steps))
                        table.add_suite(
                            {task: found for task, found in searches.items() if task in longer}, longer, peers
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
