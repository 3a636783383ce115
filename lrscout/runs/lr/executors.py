"""Which processes take the steps of a search for a learning rate, and what they find."""

from __future__ import annotations

import dataclasses
import os
from typing import NamedTuple

from lrscout.processes.cores import cpu_cores
from lrscout.processes.executor import Executor
from lrscout.processes.pool import WorkerPool
from lrscout.processes.start import WITH_TORCH, make_starter
from lrscout.results import CommandTarget, Target
from lrscout.runs.lr.command_host import CommandHost
from lrscout.runs.lr.requests import Describe, Described, LrHost
from lrscout.runs.programs import OnOutput, on_this_node
from lrscout.runs.requests import ATTEMPTS, TELLING
from lrscout.settings import FindLrSettings


class Given(NamedTuple):
    """What a host is made of, beside the target."""

    settings: FindLrSettings
    threads: int | None  # of torch on the CPU, on which the last digits depend; None: those of any new process


def open_work(
    target: Target | CommandTarget, settings: FindLrSettings, on_output: OnOutput | None
) -> tuple[Executor[LrHost], Described]:
    """--jobs processes or a cluster, and what a rate is searched for."""
    is_command = isinstance(target, CommandTarget)
    make = make_command_host if is_command else make_live_host
    described: Described | None = None
    executor: Executor[LrHost]
    if settings.engine == "ray":
        from lrscout.runs.engines import RayEngine  # here and not above: few runs use it

        executor = RayEngine(target, settings).executor(make, Given(settings, None))
    else:
        cores: int | None = cpu_cores()  # that the processes divide among themselves
        if isinstance(target, CommandTarget):
            described = CommandHost(target, settings).describe(None, on_output)
            cores = described.at_a_time if str(described.environment["device"]).startswith("cpu") else None
        threads = _threads_each(settings, cores)
        if described is not None and threads is not None:
            described = dataclasses.replace(described, environment={**described.environment, "threads": threads})
        starter = make_starter(TELLING, preloaded=CommandHost.__module__ if is_command else WITH_TORCH)
        executor = WorkerPool(starter, make, (target, Given(settings, threads)), attempts=ATTEMPTS)
    try:
        show = on_output or (lambda line: None)
        described = described or executor.ask(Describe(), lambda _, line: show(line))
    except BaseException:
        executor.close()
        raise
    if settings.engine == "here":
        executor.workers = _workers(settings, described.at_a_time)
    return executor, dataclasses.replace(described, target={**described.target, **target.as_dict()})


def _workers(settings: FindLrSettings, at_most: int) -> int:
    """The trainings at the same time: as --jobs says, or `at_most`, and no more than there are."""
    return min(at_most if settings.jobs == "auto" else int(settings.jobs), settings.independent_trainings)


def _threads_each(settings: FindLrSettings, cores: int | None) -> int | None:
    """The share of each process, since two that compute with all cores wait for each other.

    None where the user has said how many, or the cores do not matter.
    """
    if cores is None or "OMP_NUM_THREADS" in os.environ:
        return None
    return max(1, cores // _workers(settings, cores))


def make_live_host(place: int, target: Target, given: Given) -> LrHost:
    """The host of a worker."""
    from lrscout.engine.devices import device_for_worker  # here and not above: they bring torch
    from lrscout.runs.lr.live_host import LiveHost

    settings = dataclasses.replace(given.settings, device=device_for_worker(given.settings.device, place))
    return LiveHost(target, settings, given.threads)


def make_command_host(place: int, target: CommandTarget, given: Given) -> LrHost:
    """The host of a worker, for a training command."""
    return CommandHost(on_this_node(target), given.settings, given.threads)
