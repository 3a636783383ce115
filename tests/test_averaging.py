"""Averaged weights: those of torch's AveragedModel bit for bit, beside a training that does not change."""

from __future__ import annotations

import copy
from collections import deque

import pytest
import torch
from small_workloads import digest, linear_workload, make_loader, make_net, make_session, random_digest
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import DataLoader

from lrscout.engine.averaging import NORM_BATCHES, WeightAverage, check_can_average
from lrscout.engine.training import Trainee
from lrscout.engine.workload import make_workload
from lrscout.errors import UsageError

STEPS = 30
FIRST = 18


def noisy_workload(**parts):
    """Dropout, batch norm, a buffer that counts calls, and a shuffled loader whose generator the val_loader shares."""
    loader = make_loader()
    held_out = DataLoader(loader.dataset, batch_size=5, shuffle=True, generator=loader.generator)
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    given = {"model": net, "train_loader": loader, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}
    return make_workload({**given, "val_loader": held_out, **parts})


def trained(workload, first=None, evaluate_after=(), **settings):
    """The losses, the evaluations, and a digest of weights, optimizers and random states at the end."""
    session = make_session(workload, **settings)
    with session.open():
        trainee = Trainee(session, average=None if first is None else WeightAverage(session, first))
        values = []
        for step in range(STEPS):
            trainee.step(0.05)
            values += [trainee.evaluate()] if step in evaluate_after else []
        norms = [each for each in workload.model.modules() if isinstance(each, nn.BatchNorm1d)]
        end = digest(*workload.model.parameters(), *norms, *session.optimizers) + random_digest()
        return session.losses(wait=True), values, end


def by_hand(workload, norm=True):
    """The same with torch's own averaging in a plain loop: the held-out loss of the averaged model."""
    model, loss_fn = workload.model, workload.loss_fn
    batches = deque(maxlen=NORM_BATCHES)
    torch.manual_seed(0)
    model.train()
    iterator = iter(workload.train_loader)
    for step in range(STEPS):
        batch = next(iterator, None)
        if batch is None:
            iterator = iter(workload.train_loader)
            batch = next(iterator)
        batches.append(batch)
        workload.optimizer.zero_grad()
        loss_fn(model(batch[0]), batch[1]).backward()
        workload.optimizer.step()
        if step == FIRST:
            averaged = AveragedModel(model)
        if step >= FIRST:
            averaged.update_parameters(model)
    if norm:
        update_bn(batches, averaged)
    averaged.eval()
    with torch.no_grad():
        losses = [(loss_fn(averaged(x), y).item(), len(y)) for x, y in workload.val_loader]
    return sum(loss * count for loss, count in losses) / sum(count for _, count in losses)


def in_order(workload):
    """The workload with held-out batches in a fixed order, so that only the weights decide."""
    held_out = list(DataLoader(workload.train_loader.dataset, batch_size=5))
    parts = {name: getattr(workload, name) for name in ("model", "train_loader", "loss_fn", "optimizer")}
    return make_workload({**parts, "val_loader": held_out})


def test_what_is_evaluated_is_torchs_averaged_model_bit_for_bit():
    wanted = by_hand(in_order(noisy_workload()))
    _, (found,), _ = trained(in_order(noisy_workload()), FIRST, {STEPS - 1})
    _, (plain,), _ = trained(in_order(noisy_workload()), None, {STEPS - 1})
    assert found == wanted
    assert found != plain


def test_without_batch_norms_nothing_but_the_weights_changes():
    def workload():
        held_out = linear_workload().train_loader
        model = nn.Linear(3, 1)
        nn.init.ones_(model.weight)
        nn.init.zeros_(model.bias)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        return linear_workload(model=model, val_loader=held_out, optimizer=optimizer)

    _, (found,), _ = trained(workload(), FIRST, {STEPS - 1})
    assert found == by_hand(workload(), norm=False)


@pytest.mark.parametrize("evaluate_after", [(), range(0, STEPS, 3)])
@pytest.mark.parametrize("first", [0, FIRST, STEPS - 1])
def test_the_training_is_bit_identical_with_and_without_averaging(first, evaluate_after):
    plain, _, end = trained(noisy_workload())
    losses, _, same_end = trained(noisy_workload(), first, evaluate_after)
    assert losses == plain
    assert same_end == end


def test_before_the_first_averaged_step_the_weights_themselves_are_evaluated():
    times = (FIRST - 1, FIRST, FIRST + 1)
    _, plain, _ = trained(linear_workload(val_loader=linear_workload().train_loader), None, times)
    _, averaged, _ = trained(linear_workload(val_loader=linear_workload().train_loader), FIRST, times)
    assert averaged[:2] == plain[:2]  # the mean of one is itself
    assert averaged[2] != plain[2]


def test_a_frozen_batch_norm_keeps_its_statistics():
    class Frozen(type(make_net())):
        def train(self, mode=True):
            super().train(mode)
            self.norm.eval()
            return self

    torch.manual_seed(1)
    net = Frozen().train()
    statistics = []

    def metric(model, batch):
        statistics.append(model.norm.running_mean.clone())
        return 1.0

    session = make_session(noisy_workload(model=net, optimizer=torch.optim.SGD(net.parameters(), lr=0.05)))
    with session.open():
        trainee = Trainee(session, metric, average=WeightAverage(session, 0))
        trainee.step(0.05)
        trainee.evaluate()
    assert all(each.eq(0).all() for each in statistics)


def test_a_step_of_the_targets_own_and_its_batches_update_the_statistics():
    def step(model, batch):
        return nn.functional.cross_entropy(model(batch["x"]), batch["y"])

    plain = noisy_workload()
    batches = [{"x": x, "y": y} for x, y in DataLoader(plain.train_loader.dataset, batch_size=4)]
    given = {"model": plain.model, "optimizer": plain.optimizer, "train_loader": batches, "val_loader": batches}
    _, (found,), _ = trained(make_workload({**given, "step": step}), FIRST, {STEPS - 1})
    pairs = [(each["x"], each["y"]) for each in batches]
    given = {"model": make_net(), "train_loader": pairs, "val_loader": pairs, "loss_fn": nn.CrossEntropyLoss()}
    optimizer = torch.optim.SGD(given["model"].parameters(), lr=0.05, momentum=0.9)
    assert found == trained(make_workload({**given, "optimizer": optimizer}), FIRST, {STEPS - 1})[1][0]


def test_the_weights_are_back_where_an_evaluation_fails():
    def metric(model, batch):
        raise RuntimeError("no")

    workload = noisy_workload()
    session = make_session(workload)
    with session.open():
        trainee = Trainee(session, metric, average=WeightAverage(session, 0))
        for _ in range(3):
            trainee.step(0.05)
        before = digest(workload.model)
        with pytest.raises(RuntimeError, match="no"):
            trainee.evaluate()
        assert digest(workload.model) == before


def test_a_weight_in_two_optimizers_is_averaged_once():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    two = [torch.optim.SGD(model[:1].parameters(), lr=0.1), torch.optim.SGD(model.parameters(), lr=0.1)]
    session = make_session(linear_workload(model=model, optimizer=two))
    with session.open():
        average = WeightAverage(session, 0)
        seen = []
        for _ in range(3):
            average.step(0.05)
            seen.append(copy.deepcopy(model.state_dict()))
        with average.in_place():
            for name, value in model.state_dict().items():
                assert torch.allclose(value, torch.stack([each[name] for each in seen]).mean(0)), name


def test_after_the_session_everything_is_as_it_was_before():
    workload = noisy_workload()
    before = digest(workload.model, workload.optimizer) + random_digest()
    trained(workload, FIRST, range(0, STEPS, 4))
    assert digest(workload.model, workload.optimizer) + random_digest() == before


def manual(model, batch):
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


@pytest.mark.parametrize(
    ("parts", "needs_metric", "told"),
    [
        ({"val_loader": None}, False, "constant\\+swa needs held-out data"),
        ({}, True, "its rates depend on evaluations"),
        ({"step": manual, "loss_fn": None, "manual": True}, False, "batch norms: the target's step is manual"),
    ],
)
def test_what_cannot_be_averaged_is_told(parts, needs_metric, told):
    session = make_session(noisy_workload(**parts))
    with session.open(), pytest.raises(UsageError, match=told):
        check_can_average("constant+swa", session, Trainee(session).lacks, needs_metric)
