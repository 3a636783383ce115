"""Which processes take the steps of a search for a learning rate, and what they find."""

from __future__ import annotations

import dataclasses
import sys
from typing import NamedTuple

from lrscout.processes.deaths import Died, WorkerDiedError
from lrscout.processes.executor import Executor
from lrscout.processes.pool import WorkerPool
from lrscout.processes.start import WITH_TORCH, make_starter
from lrscout.results import CommandTarget, Target
from lrscout.runs.lr.command_host import CommandHost
from lrscout.runs.lr.requests import Describe, Described, LrHost
from lrscout.runs.programs import OnOutput, on_this_node
from lrscout.settings import FindLrSettings

ATTEMPTS = 2  # at a request whose process dies
TELLING = {"PYTHONFAULTHANDLER": "1"}  # where a segfault in the user's code happened


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
    given = Given(settings, None if is_command else _threads_here(settings))
    described: Described | None = None
    executor: Executor[LrHost]
    if settings.engine == "ray":
        from lrscout.runs.engines import RayEngine  # here and not above: few runs use it

        executor = RayEngine(target, settings).executor(make, given)
    else:
        if isinstance(target, CommandTarget):
            described = CommandHost(target, settings).describe(None, on_output)
        starter = make_starter(TELLING, preloaded=CommandHost.__module__ if is_command else WITH_TORCH)
        jobs = 1 if settings.jobs == "auto" else int(settings.jobs)
        executor = WorkerPool(starter, make, (target, given), workers=jobs, attempts=ATTEMPTS)
    try:
        described = described or _described(executor, on_output)
    except BaseException:
        executor.close()
        raise
    if settings.engine == "here" and settings.jobs == "auto":
        executor.workers = described.at_a_time
    return executor, dataclasses.replace(described, target={**described.target, **target.as_dict()})


def _described(executor: Executor[LrHost], on_output: OnOutput | None) -> Described:
    show = on_output or (lambda line: None)
    ((_, answer),) = executor.run([Describe()], lambda _, line: show(line))
    if isinstance(answer, Died):
        raise WorkerDiedError(answer)
    return answer


def _threads_here(settings: FindLrSettings) -> int | None:
    """The threads that torch would use in this process; a new one on this machine would use as many by itself."""
    if settings.engine == "here" and "torch" not in sys.modules:
        return None
    from lrscout.engine.devices import threads_in_use  # here and not above: it brings torch

    return threads_in_use()


def make_live_host(place: int, target: Target, given: Given) -> LrHost:
    """The host of a worker."""
    from lrscout.engine.devices import device_for_worker  # here and not above: they bring torch
    from lrscout.runs.lr.live_host import LiveHost

    settings = dataclasses.replace(given.settings, device=device_for_worker(given.settings.device, place))
    return LiveHost(target, settings, given.threads)


def make_command_host(place: int, target: CommandTarget, given: Given) -> LrHost:
    """The host of a worker, for a training command."""
    return CommandHost(on_this_node(target), given.settings)
