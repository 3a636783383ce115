"""How long 20 schedules x 10 seeds at tuned rates take on 64 GPUs whose nodes fail: a simulation, event by event.

    python tests/benchmarks/scaling/simulate.py [trials]

The plans are those of lrscout.search.tuning, with a final loss that is a bowl around a rate of each schedule's own, and
noise. A run takes about ten minutes. A node of 8 GPUs fails once in MTBF hours on average, and is back after a quarter
of an hour; its runs start anew. `waves` does what compare-schedulers does: all schedules wait for the slowest run of a
wave, and the scoring for the last rate. `asynchronous` lets a schedule go on as soon as its own runs have ended, tuning
runs first, so that a schedule scores once its own rate is known.
"""

from __future__ import annotations

import heapq
import math
import random
import sys
from collections import deque
from statistics import fmean, quantiles

from lrscout.search.comparison import PlannedRun
from lrscout.search.tuning import GRID_FACTOR, _search, tuning_seeds

SCHEDULES, SEEDS, NODES, GPUS_PER_NODE = 20, 10, 8, 8
RUN_SECONDS, SPREAD = 600.0, 0.15  # of a run: lognormal
START_SECONDS = 20.0  # for a process to import torch and to build the target
REPAIR_SECONDS = 900.0


class Cluster:
    """GPUs in nodes that fail, and the runs on them; time passes from event to event."""

    def __init__(self, mtbf_hours: float, chance: random.Random) -> None:
        self._mtbf, self._chance, self.now = mtbf_hours * 3600, chance, 0.0
        self._free, self._up = [GPUS_PER_NODE] * NODES, [True] * NODES
        self._events: list[tuple[float, int, str, int, PlannedRun | None]] = []
        self._number, self.running = 0, {}  # event number -> node
        self.busy, self.useful, self.lost = 0.0, 0.0, 0
        for node in range(NODES):
            self._fails(node)

    def _add(self, after: float, what: str, node: int, plan: PlannedRun | None = None) -> int:
        self._number += 1
        heapq.heappush(self._events, (self.now + after, self._number, what, node, plan))
        return self._number

    def _fails(self, node: int) -> None:
        if math.isfinite(self._mtbf):
            self._add(self._chance.expovariate(1 / self._mtbf), "fails", node)

    @property
    def idle(self) -> int:
        return sum(free for free, up in zip(self._free, self._up) if up)

    def start(self, plan: PlannedRun) -> None:
        node = max((n for n in range(NODES) if self._up[n]), key=lambda n: self._free[n])
        self._free[node] -= 1
        seconds = START_SECONDS + RUN_SECONDS * self._chance.lognormvariate(0, SPREAD)
        self.running[self._add(seconds, "ended", node, plan)] = (node, self.now, plan)

    def step(self) -> list[tuple[PlannedRun, bool]]:
        """What the next event ends: plans, and whether they have their results."""
        self.now, number, what, node, plan = heapq.heappop(self._events)
        if what == "ended":
            if number not in self.running:
                return []  # its node has failed before
            _, began, _ = self.running.pop(number)
            self._free[node] += 1
            self.busy += self.now - began
            self.useful += self.now - began
            return [(plan, True)]
        if what == "back":
            self._up[node], self._free[node] = True, GPUS_PER_NODE
            self._fails(node)
            return []
        self._up[node] = False
        self._add(REPAIR_SECONDS, "back", node)
        gone = [key for key, (where, _, _) in self.running.items() if where == node]
        ended = [self.running.pop(key) for key in gone]
        self.busy += sum(self.now - began for _, began, _ in ended)
        self.lost += len(ended)
        return [(each, False) for _, _, each in ended]


class Schedules:
    """The tuning of each schedule, and what it asks for next."""

    def __init__(self, chance: random.Random) -> None:
        self._best = [chance.gauss(0.3, 0.8) for _ in range(SCHEDULES)]  # in factors of the grid, above the center
        self._noise = chance
        self._searches = [_search(tuning_seeds(0)) for _ in range(SCHEDULES)]
        self._scores: list[dict[tuple[int, int], float]] = [{} for _ in range(SCHEDULES)]
        self._missing = [0] * SCHEDULES
        self._values: dict[tuple[int, int, int], float] = {}

    def first(self) -> list[PlannedRun]:
        return [plan for i in range(SCHEDULES) for plan in self._planned(i, next(self._searches[i]))]

    def _planned(self, i: int, points: list[tuple[int, int]]) -> list[PlannedRun]:
        self._missing[i], self._scores[i] = len(points), {}
        return [PlannedRun(i, seed, GRID_FACTOR**place, "tune") for place, seed in points]

    def ended(self, plan: PlannedRun) -> list[PlannedRun]:
        """What follows a tuning run: nothing, the next runs of its schedule, or those that score it."""
        i, place = plan.schedule, round(math.log(plan.peak_lr, GRID_FACTOR))
        bowl = 0.1 * (place - self._best[i]) ** 2
        self._scores[i][place, plan.seed] = bowl + self._noise.gauss(0, 0.03)
        self._missing[i] -= 1
        if self._missing[i]:
            return []
        try:
            return self._planned(i, self._searches[i].send(self._scores[i]))
        except StopIteration as end:
            lr = GRID_FACTOR**end.value.chosen
            return [PlannedRun(i, seed, lr, "score") for seed in range(1, SEEDS + 1)]


def simulate(asynchronous: bool, mtbf_hours: float, seed: int) -> tuple[float, float, float, int, int]:
    """Seconds, utilisation, GPU-hours idle while tuning, runs, and runs that were lost."""
    cluster, schedules = Cluster(mtbf_hours, random.Random(seed)), Schedules(random.Random(seed + 1000))
    waiting = {"tune": deque(schedules.first()), "score": deque[PlannedRun]()}
    held: list[PlannedRun] = []  # of the next wave
    under_way, runs, idle, tuning = 0, 0, 0.0, True
    while any(waiting.values()) or under_way or held:
        while cluster.idle and any(waiting.values()):
            cluster.start((waiting["tune"] or waiting["score"]).popleft())
            under_way += 1
        before, free = cluster.now, cluster.idle
        for plan, is_done in cluster.step():
            under_way -= 1
            if not is_done:
                waiting[plan.role].appendleft(plan)
                continue
            runs += 1
            held += schedules.ended(plan) if plan.role == "tune" else []
        idle += (cluster.now - before) * free if tuning else 0.0
        if asynchronous or not (under_way or any(waiting.values())):
            more = [plan for plan in held if plan.role == "tune"]
            if asynchronous or not more:
                more, held = held, []
            else:
                held = [plan for plan in held if plan.role == "score"]
            for plan in sorted(more, key=lambda plan: plan.seed):
                waiting[plan.role].append(plan)
        tuning = tuning and (bool(waiting["tune"]) or any(p.role == "tune" for _, _, p in cluster.running.values()))
    return cluster.now, cluster.useful / (cluster.now * NODES * GPUS_PER_NODE), idle / 3600, runs, cluster.lost


def main(trials: int) -> None:
    print(f"{SCHEDULES} schedules, {SEEDS} seeds, {NODES * GPUS_PER_NODE} GPUs, {trials} trials: mean (10% to 90%)")
    for mtbf in (math.inf, 24.0, 6.0):
        for asynchronous in (False, True):
            found = [simulate(asynchronous, mtbf, seed) for seed in range(trials)]
            minutes = [seconds / 60 for seconds, *_ in found]
            low, *_, high = quantiles(minutes, n=10)
            name = "asynchronous" if asynchronous else "waves"
            _, used, idle, runs, lost = (fmean(column) for column in zip(*found))
            print(
                f"a node fails every {mtbf:>3g} h  {name:>12}  {fmean(minutes):5.1f} min ({low:.1f} to {high:.1f})"
                f"  utilisation {used:.0%}  idle while tuning {idle:5.1f} GPU-hours  {runs:.0f} runs, {lost:.1f} lost"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
