"""The training itself: build the target, share it among the ranks, and take steps until somebody ends it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lrscout.engine.randomness import seed_everything
from lrscout.engine.session import Session
from lrscout.engine.target import load_target
from lrscout.engine.training import Trainee
from lrscout.engine.trials.source import Source
from lrscout.engine.workload import Workload, make_workload
from lrscout.errors import UsageError, WorkloadError
from lrscout.ranks.arguments import Arguments
from lrscout.ranks.guide import guide, watcher
from lrscout.ranks.launcher import STORE
from lrscout.ranks.loaders import begin_anew, shared, shared_to_evaluate
from lrscout.ranks.strategies import check_closures, parameters_in, wrapped
from lrscout.settings.optimizers import ALL, EACH

SHOWN = 3  # names in a message
UNFINISHED = "Expected to have finished reduction"  # torch/csrc/distributed/c10d/reducer.cpp
TWICE = "initialize the default process group twice"  # torch/distributed/distributed_c10d.py
STARTED = (
    "lrscout has started the process group of these ranks already: leave init_process_group out of what builds the"
    " target, or call it only if torch.distributed.is_initialized() says that there is none."
)


def train(arguments: Arguments) -> None:
    """Train without an end, or for as long as a search has steps to take.

    Raises:
        LrscoutError: the target cannot be loaded, or not be trained.
    """
    device = _device(arguments.settings.device)
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = os.environ.get(STORE)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store and f"file://{store}", rank=rank, world_size=ranks)
    watched_by = watcher()
    try:
        workload = _built(arguments)
    except ValueError as error:
        if TWICE in str(error):
            error.add_note(STARTED)
        raise
    settings = arguments.settings
    train_loader, warning = shared(workload.train_loader, ranks, rank, settings.seed)
    val_loader = shared_to_evaluate(workload.val_loader, ranks, rank)
    workload = replace(workload, train_loader=train_loader, val_loader=val_loader)
    # each draws its own dropout; the weights are the same already
    own = replace(settings, device=str(device), seed=settings.seed + rank, optimizer=_together(settings.optimizer))
    session = Session(wrapped(workload, arguments.strategy, device), own)
    check_closures(session.optimizers, arguments.strategy)
    warnings = [warning] if warning is not None else []
    guided = None if watched_by is None else guide(watched_by, session, settings.optimizer, warnings)
    while True:
        begin_anew(train_loader)
        with session.open(preserve=guided is not None and guided.keeps):
            training = SharedTraining(session, arguments.strategy)
            while guided is None:
                training.step()
            guided.train(training)


class SharedTraining:
    """The steps of an open session, and the evaluations between them."""

    def __init__(self, session: Session, strategy: str) -> None:
        self._session, self._trainee = session, Trainee(session)
        self._checked = strategy != "ddp"

    def step(self) -> Tensor:
        """Take a step; its loss.

        Raises:
            WorkloadError: a parameter takes no part in it, which DDP does not allow.
        """
        try:
            loss = self._session.train_step()
        except RuntimeError as error:
            if UNFINISHED in str(error):  # DDP refuses a second micro-batch after a first one without some parameters
                _check_all_train(parameters_in(self._session.workload))
            raise
        if not self._checked:
            self._checked = True
            _check_all_train(parameters_in(self._session.workload))
        return loss

    def evaluates(self) -> bool:
        """Whether there is held-out data that has a loss."""
        return self._trainee.lacks is None

    def evaluate(self) -> float | None:
        """The loss of this rank's held-out data."""
        return self._trainee.evaluate()

    def warnings(self) -> tuple[str, ...]:
        """What the user should know about the training so far."""
        return (*self._session.warnings, *self._trainee.warnings)


def _together(optimizer: str | None) -> str | None:
    """The optimizers whose rates are set: all, where each is searched for in turn."""
    return ALL if optimizer == EACH else optimizer


def _device(name: str) -> torch.device:
    """The device of this rank: a GPU of its own, or the CPU.

    Raises:
        UsageError: there are fewer GPUs than ranks, or it is of another kind.
    """
    kind, _, index = name.partition(":")
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if kind not in ("auto", "cuda") or index:
        raise UsageError(f"--device {name} cannot be used with several ranks.", hint="Use cpu, cuda or auto.")
    local, here = int(os.environ["LOCAL_RANK"]), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    count = torch.cuda.device_count()
    if here > count:
        raise UsageError(f"There are {count} GPUs for {here} ranks.", hint=f"Use --nproc {count}, or --device cpu.")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _built(arguments: Arguments) -> Workload:
    """The target's workload, the same on every rank, at the batch size that is asked for."""
    seed = arguments.settings.seed
    if arguments.batch_size is not None:
        return Source(arguments.target, arguments.batch_argument, seed).with_batch_size(arguments.batch_size)
    seed_everything(seed)
    return make_workload(load_target(arguments.target))


def _check_all_train(parameters: Mapping[str, nn.Parameter]) -> None:
    """See that every parameter has a gradient: DDP waits for all of them before it averages the last ones.

    Raises:
        WorkloadError: one has none.
    """
    unused = [name for name, each in parameters.items() if each.requires_grad and each.grad is None]
    if unused:
        more = f" and {len(unused) - SHOWN} more" if len(unused) > SHOWN else ""
        raise WorkloadError(
            f"The loss does not depend on {', '.join(unused[:SHOWN])}{more}, which DDP does not allow.",
            hint="Freeze what is not used with requires_grad_(False), or use --strategy fsdp.",
        )
