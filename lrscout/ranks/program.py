"""The training itself: build the target, share it among the ranks, and take steps until somebody ends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import nn

from lrscout.engine.randomness import seed_everything
from lrscout.engine.session import Session
from lrscout.engine.target import load_target
from lrscout.engine.trials.source import Source
from lrscout.engine.workload import Workload, make_workload
from lrscout.errors import UsageError, WorkloadError
from lrscout.ranks.arguments import Arguments
from lrscout.ranks.launcher import STORE
from lrscout.ranks.loaders import shared
from lrscout.ranks.strategies import parameters_in, wrapped

SHOWN = 3  # names in a message


def train(arguments: Arguments) -> None:
    """Train without an end.

    Raises:
        LrscoutError: the target cannot be loaded, or not be trained.
    """
    device = _device(arguments.settings.device)
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    store = os.environ.get(STORE)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store and f"file://{store}", rank=rank, world_size=ranks)
    workload = _built(arguments)
    loader, warning = shared(workload.train_loader, ranks, rank, arguments.settings.seed)
    if warning is not None and rank == 0:
        print(f"Warning: {warning}", file=sys.stderr)
    workload = wrapped(replace(workload, train_loader=loader), arguments.strategy, device)
    # each draws its own dropout; the weights are the same already
    settings = replace(arguments.settings, device=str(device), seed=arguments.settings.seed + rank)
    with Session(workload, settings).open(preserve=False) as session:
        session.train_step()
        if arguments.strategy == "ddp":
            _check_all_train(parameters_in(workload))
        while True:
            session.train_step()


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
