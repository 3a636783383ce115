"""Programs of the common frameworks: lrscout attaches to the optimizer that they step, however deep it lies."""

from __future__ import annotations

import importlib.util
import math
import shutil
import sys

import pytest
import torch
from attaching import PROGRAMS, sweep, twice
from torch import nn

import lrscout
from lrscout.processes.command import AttachedCommand

pytestmark = [
    pytest.mark.slow,  # every test starts programs that train
    pytest.mark.skipif(sys.platform != "linux", reason="what is left running is looked up in /proc"),
]

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


def check_sweeps(command: AttachedCommand, ranks: int = 1) -> None:
    """Two sweeps have the same losses, and the program ends as if by itself."""
    first, second = twice(command)
    assert second == first
    assert min(first) < first[0]
    assert command.attach().ranks == ranks
    command.close()
    assert command.exit_code == 0


def test_a_training_step_may_be_compiled_as_a_whole(start):
    backend = "inductor" if shutil.which("g++") else "eager"  # which traces as well, and compiles nothing
    check_sweeps(start(sys.executable, "compiled.py", backend))


@needs("pytorch_lightning")
def test_lightning_is_driven_in_the_process_that_it_starts_itself_too(start, tmp_path):
    command = start(sys.executable, "lightning_fit.py", "--devices", "2", "--root", str(tmp_path))
    check_sweeps(command, ranks=2)
    (optimizer,) = command.attach().optimizers
    assert optimizer.own_lr == 0.1  # the peak of OneCycleLR, which begins at a 25th of it


@needs("transformers")
def test_the_trainer_of_transformers_is_driven_below_its_accumulation_and_its_warmup(start):
    command = start(*TORCHRUN, "trainer.py")
    command.attach()
    session = command.session()
    losses = []
    for _ in range(3):
        losses.append(sweep(session))
        session.restore()
    assert losses[0][0] == pytest.approx(math.log(64), rel=0.1)  # the mean over the two micro-batches, not their sum
    # the state is that of the first step, after its forward pass: dropout has moved on by one pass
    assert losses[0][0] == pytest.approx(losses[1][0], rel=0.01)
    assert losses[1] == losses[2]
    assert command.attach().ranks == 2
    assert [group.lr for group in command.attach().optimizers[0].groups] == [5e-4, 5e-4]
    command.close()
    assert command.exit_code == 0


@needs("accelerate")
def test_a_loop_with_accelerate_is_driven_through_its_wrapped_optimizer(start, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")  # its --cpu means one process
    command = start("accelerate", "launch", "--multi_gpu", "--num_processes=2", "accelerate_loop.py")
    check_sweeps(command, ranks=2)
    assert [optimizer.own_lr for optimizer in command.attach().optimizers] == [1e-3]


def test_sharded_parameters_of_fsdp_go_back_on_every_rank(start):
    check_sweeps(start(*TORCHRUN, "fsdp.py"), ranks=2)


@needs("pytorch_lightning")
@pytest.mark.usefixtures("one_thread")
def test_lightning_has_the_losses_and_the_suggestion_of_the_same_model_as_a_target(monkeypatch, tmp_path):
    def build():
        x, y = torch.randn(16, 8), torch.randn(16, 1)
        model = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 1))
        # OneCycleLR begins with a momentum of 0.95
        optimizer = torch.optim.AdamW(model.parameters(), betas=(0.95, 0.999))
        return {"model": model, "train_loader": [(x, y)], "loss_fn": nn.MSELoss(), "optimizer": optimizer}

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    argv = [sys.executable, str(PROGRAMS / "lightning_fit.py"), "--root", str(tmp_path)]
    program = lrscout.find_lr(command=argv, max_steps=150)
    target = lrscout.find_lr(build, device="cpu", precision="bf16", accumulate=2, clip_norm=1.0, max_steps=150)
    assert [(point.lr, point.loss) for point in program.points] == [(point.lr, point.loss) for point in target.points]
    assert program.suggestion.lr == target.suggestion.lr
