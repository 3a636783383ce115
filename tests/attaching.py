"""Programs that are attached to in a test: where they are, their losses, how they are swept, and what is left."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch
from torch import nn

from lrscout.processes.command import AttachedCommand
from lrscout.processes.driving import AttachedSession

PROGRAMS = Path(__file__).parent / "programs"
RATES = [1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1]
MARK = "LRSCOUT_TEST_MARK"  # in the environment of all that a test has started


def alive(mark: str) -> list[str]:
    """The command lines of the living processes that carry the mark."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


def plain_reference(rates: list[float]) -> list[float]:
    """The losses of tests/programs/plain.py at these rates, computed here."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 8), torch.randn(64, 1)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.AdamW([{"params": model[:2].parameters()}, {"params": model[3].parameters()}])
    losses = []
    for lr in rates:
        optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = lr * (1e-3 / 10 / 1e-3), lr
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def sweep(session: AttachedSession, rates: list[float] = RATES) -> list[float]:
    losses = []
    for lr in rates:
        session.step(lr)
        losses += session.losses()
    return losses + session.losses(wait=True)


def twice(command: AttachedCommand, drive: int = 0, rates: list[float] = RATES) -> list[list[float]]:
    """The losses of two sweeps with the state put back after each."""
    command.attach()
    session = command.session(drive)
    found = []
    for _ in range(2):
        found.append(sweep(session, rates))
        session.restore()
    return found
