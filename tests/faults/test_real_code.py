"""What lrscout meets in code that people have written."""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import sys
import tempfile
import threading
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_workloads import linear_workload, make_session, steps
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, TensorDataset

import lrscout as lrscout_package
from lrscout.cli import main
from lrscout.engine.losses import loss_of
from lrscout.engine.training import MOST_VAL_BATCHES, Trainee
from lrscout.errors import TargetError, UsageError, WorkloadError

TARGET = """
import itertools

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

BATCHES = [(torch.randn(8, 4, generator=torch.Generator().manual_seed(i)), torch.ones(8, 1)) for i in range(8)]
MADE_ONCE = nn.Linear(4, 1)


class Stream(IterableDataset):
    def __init__(self, length):
        self.length = length

    def __iter__(self):
        for index in itertools.count() if self.length is None else range(self.length):
            yield BATCHES[index % 8]


def build(length=16):
    return {"model": nn.Linear(4, 1), "train_loader": DataLoader(Stream(None), batch_size=None),
            "loss_fn": nn.MSELoss(), "val_loader": DataLoader(Stream(length), batch_size=None)}


def endless():
    return build(None)


def made_once():
    return {**build(), "model": MADE_ONCE, "val_loader": None}


def made_once_and_shuffled():
    return {**made_once(), "train_loader": DataLoader(BATCHES, batch_size=None, shuffle=True)}
"""
COMPARE = ("-s", "cosine", "-s", "constant", "--steps", "20", "--seeds", "3", "--lr", "0.01", "--lr-mode", "shared")


@pytest.fixture
def lrscout(tmp_path, monkeypatch, capfd):
    """Run a command on a target: exit code, stdout, stderr."""
    (tmp_path / "met.py").write_text(TARGET, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(command: str, target: str, *arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([command, f"met:{target}", *arguments, "--device", "cpu"])
        return (code, *capfd.readouterr())

    yield run
    sys.modules.pop("met", None)


class Stream(IterableDataset):
    """Batches of a constant, as many as asked for, or without an end."""

    def __init__(self, length: int | None) -> None:
        self.length = length

    def __iter__(self):
        for _ in count() if self.length is None else range(self.length):
            yield torch.ones(4, 3), torch.ones(4, 1)


def evaluated(length: int | None, **more: int) -> Trainee:
    loader = DataLoader(Stream(length), batch_size=None)
    with make_session(linear_workload(val_loader=loader)).open() as session:
        trainee = Trainee(session, **more)
        trainee.evaluate()
        return trainee


# --- validation data without a length


def test_a_val_loader_without_a_length_is_evaluated_to_its_end():
    assert evaluated(7).warnings == ()
    assert evaluated(MOST_VAL_BATCHES).warnings == ()


def test_an_endless_val_loader_is_cut_with_a_warning():
    assert "did not end after 100 batches" in evaluated(None).warnings[0]
    assert "did not end after 5 batches" in evaluated(None, most_batches=5).warnings[0]


def test_a_val_loader_without_a_length_can_be_compared_on(lrscout):
    code, out, err = lrscout("compare-schedulers", "build", *COMPARE, "--json")
    assert code == 0, err
    assert json.loads(out)["result"]["metric"]["held_out"]
    assert "did not end" not in err


def test_a_comparison_on_an_endless_val_loader_ends_and_says_where_it_cut(lrscout):
    code, _, err = lrscout("compare-schedulers", "endless", *COMPARE)
    assert code == 0, err
    assert err.count("The val_loader did not end after 100 batches: every evaluation stops there.") == 1


def test_refining_on_an_endless_val_loader_ends_and_says_where_it_cut(lrscout):
    arguments = ("--refine", "600", "--min-lr", "1e-4", "--max-lr", "10", "--steps", "40")
    code, _, err = lrscout("find-lr", "endless", *arguments, "--val-batches", "10")
    assert code == 0, err
    assert err.count("The val_loader did not end after 10 batches") == 1


# --- a model made at module level


@pytest.mark.parametrize(
    ("target", "told"), [("made_once_and_shuffled", (1, 0)), ("made_once", (0, 1)), ("build", (0, 0))]
)
def test_equal_weights_in_every_seed_of_a_comparison_are_told_of(lrscout, target, told):
    code, _, err = lrscout("compare-schedulers", target, *COMPARE)
    assert code == 0, err
    alike = "Every seed began with the same weights"
    of_order, of_less = f"{alike}, so the intervals cover the order of the data", f"{alike} and the same batches, so"
    assert (err.count(of_order), err.count(of_less)) == told


@pytest.mark.parametrize(("target", "told"), [("made_once", 1), ("build", 0)])
def test_equal_weights_in_every_seed_of_a_search_are_told_of(lrscout, target, told):
    arguments = ("--seeds", "3", "--min-lr", "1e-4", "--max-lr", "10", "--steps", "40")
    code, _, err = lrscout("find-lr", target, *arguments)
    assert code in (0, 4), err
    assert err.count("Every seed of --seeds began with the same weights") == told


# --- losses


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_last_batch_of_one_sample_before_a_batch_norm_is_explained_beside_torchs_error(ranks):
    data = TensorDataset(torch.randn(33 * ranks, 3), torch.ones(33 * ranks, 1))
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))
    loader = DataLoader(data, batch_size=16, sampler=DistributedSampler(data, ranks, 0))
    with pytest.raises(ValueError, match="more than 1 value") as caught:
        steps(linear_workload(model=model, train_loader=loader), 3)
    assert caught.value.__notes__ == [
        "A batch norm cannot train on a batch of one sample: 33 samples in batches of 16 leave 1. "
        "Give the train_loader drop_last=True, or another batch size."
    ]


def test_a_batch_of_one_sample_from_a_list_is_explained_without_numbers():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))
    with pytest.raises(ValueError, match="more than 1 value") as caught:
        steps(linear_workload(model=model, train_loader=[(torch.ones(1, 3), torch.ones(1, 1))]), 1)
    assert "A batch norm cannot train on a batch of one sample. Give" in caught.value.__notes__[0]


def test_it_is_explained_once_where_a_loss_calls_another_as_on_ranks():
    inner = linear_workload(
        model=nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)), train_loader=[(torch.ones(1, 3), torch.ones(1, 1))]
    )
    loss = loss_of(inner)
    with pytest.raises(ValueError, match="more than 1 value") as caught:
        steps(dataclasses.replace(inner, step=lambda batch: loss(batch), loss_fn=None), 1)
    assert len(caught.value.__notes__) == 1


@pytest.mark.parametrize(
    ("returned", "hint"),
    [
        (
            lambda loss: {"mae": loss, "loss": loss},
            "It has the keys 'mae', 'loss': return the tensor, for example loss['loss'], or",
        ),
        (lambda loss: {"mae": 1.0, "total": loss}, "for example loss['total'], or define step(model, batch)."),
        (lambda loss: {str(i): loss for i in range(9)}, "keys '0', '1', '2', '3', '4', ...: return"),
        (lambda loss: (loss, {}), "It has 2 parts: return the tensor among them, or define step(model, batch)."),
        (lambda loss: loss.item(), "Return the tensor itself, not its .item()."),
    ],
)
def test_a_loss_that_is_not_a_tensor_is_told_what_it_is(returned, hint):
    with pytest.raises(WorkloadError, match="The loss must be a tensor, not") as caught:
        steps(linear_workload(loss_fn=lambda output, target: returned((output - target).square().mean())), 1)
    assert hint in caught.value.hint


class Pair(nn.Linear):
    """As nanoGPT: the model returns its logits and its loss."""

    def forward(self, inputs, target):
        output = super().forward(inputs)
        return output, (output - target).square().mean()


def test_a_model_that_returns_logits_and_loss_is_told_to_define_a_step():
    with pytest.raises(WorkloadError, match="the model returned 'tuple' without a loss") as caught:
        steps(linear_workload(model=Pair(3, 1), loss_fn=None), 1)
    assert "or define step(model, batch) to return the loss, such as part [1] of what" in caught.value.hint
    steps(linear_workload(model=Pair(3, 1), loss_fn=None, step=lambda model, batch: model(*batch)[1]), 1)


# --- optimizers


@pytest.mark.parametrize("place", ["param_groups[0]['lock']", "state[...]['held'][0]"])
def test_an_optimizer_that_cannot_be_copied_is_told_what_is_in_its_way(place):
    workload = linear_workload()
    optimizer = torch.optim.SGD(workload.model.parameters(), lr=0.1)
    if place.startswith("state"):
        optimizer.state[workload.model.weight]["held"] = [threading.Lock()]
    else:
        optimizer.param_groups[0]["lock"] = threading.Lock()
    with pytest.raises(WorkloadError) as caught:
        steps(linear_workload(model=workload.model, optimizer=optimizer), 1)
    assert f"SGD.{place} holds an object of type 'lock', which cannot be copied" in caught.value.message
    assert "as an attribute of the optimizer" in caught.value.hint


@pytest.mark.parametrize("rate", [math.inf, math.nan])
def test_an_optimizer_whose_rate_is_not_finite_is_refused(rate):
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD([{"params": [model.weight]}, {"params": [model.bias]}], lr=0.1)
    optimizer.param_groups[1]["lr"] = rate
    with pytest.raises(UsageError, match=f"SGD has a parameter group with a learning rate of {rate}."):
        steps(linear_workload(model=model, optimizer=optimizer), 1)


# --- folders


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere batches do not travel through sockets")
@pytest.mark.parametrize(("length", "fails"), [(75, False), (76, True)])
def test_a_folder_for_temporary_files_that_is_too_long_for_the_loaders_workers_is_told_of(monkeypatch, length, fails):
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        folder = Path(short, "x" * (length - len(short) - 1))
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        monkeypatch.setitem(multiprocessing.current_process()._config, "tempdir", None)
        loader = DataLoader(TensorDataset(torch.ones(8, 3), torch.ones(8, 1)), batch_size=4, num_workers=1)
        if not fails:
            assert len(steps(linear_workload(train_loader=loader), 2)) == 2
            return
        with pytest.raises(WorkloadError, match=f"may have 75 bytes for that, but has {length}: /tmp"):
            linear_workload(train_loader=loader)


# --- live objects


def test_live_objects_may_have_a_val_loader():
    parts = linear_workload()
    live = {"loss_fn": parts.loss_fn, "val_loader": [(torch.ones(4, 3), torch.ones(4, 1))], "device": "cpu"}
    compared = lrscout_package.compare_schedulers(
        parts.model, parts.train_loader, schedules=["cosine", "constant"], steps=20, lr=0.01, lr_mode="shared", **live
    )
    assert compared.result.metric.held_out
    found = lrscout_package.find_lr(parts.model, parts.train_loader, val_batches=1, min_lr=1e-4, steps=40, **live)
    assert found.points
    assert found.warnings == ()


def test_a_val_loader_beside_a_dotted_path_is_refused_by_its_name():
    with pytest.raises(TargetError, match="val_loader cannot be passed with a dotted path"):
        lrscout_package.find_lr("met:build", val_loader=[])


# --- clipping


class OwnTrainer:
    """A trainer of the user's, whose step lrscout is given."""

    def __init__(self, **settings: object) -> None:
        self.model, self.args = nn.Linear(3, 1), SimpleNamespace(**settings)

    def step(self, batch):
        return (self.model(batch[0]) - batch[1]).square().mean()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"max_grad_norm": 1.0},
            ("The target's own max_grad_norm of 1 is not applied here: --clip-norm 1 clips alike.",),
        ),
        ({"max_grad_norm": 0.0}, ()),
        ({"clip_grad": True}, ()),
        ({}, ()),
    ],
)
def test_the_clipping_of_an_own_trainer_is_said_not_to_be_applied(settings, told):
    trainer = OwnTrainer(**settings)
    workload = linear_workload(model=trainer.model, step=trainer.step, loss_fn=None)
    assert make_session(workload).warnings == told
    assert make_session(workload, clip_norm=0.5).warnings == ()


def test_the_clipping_among_the_hyperparameters_of_a_module_is_said_not_to_be_applied():
    workload = linear_workload()
    workload.model.hparams = {"gradient_clip_val": 0.5}
    assert "gradient_clip_val of 0.5 is not applied" in make_session(workload).warnings[0]
