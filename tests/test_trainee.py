"""Real training with evaluations in between: what they are worth, and that they leave no trace."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_workloads import digest, linear_workload, make_loader, make_net, make_session, random_digest
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lrscout.engine.training import Trainee, samples_in
from lrscout.engine.workload import make_workload
from lrscout.errors import WorkloadError
from lrscout.search.training import run_training


class Constant:
    needs_metric = False

    def __init__(self, session, lr):
        self._session, self._lr = session, lr

    def before_step(self, step):
        self._session.set_lr(self._lr)
        return self._lr

    def after_evaluation(self, metric):
        pass


def train(workload, evaluate_after=(), steps=30, metric_fn=None, **settings):
    """The points of a run, and a digest of weights, optimizers and random states at its end."""
    session = make_session(workload, **settings)
    with session.open():
        result = run_training(Trainee(session, metric_fn), Constant(session, 0.05), steps, evaluate_after)
        return result.points, digest(list(workload.model.parameters()), *session.optimizers) + random_digest()


def noisy_workload():
    """Dropout, batch norm, a shuffled loader whose generator the val_loader shares."""
    loader = make_loader()
    shared = DataLoader(loader.dataset, batch_size=5, shuffle=True, generator=loader.generator)
    return make_workload((make_net(), loader, nn.CrossEntropyLoss(), None, shared))


@pytest.mark.parametrize("every", [1, 7])
def test_training_is_bit_identical_with_and_without_evaluations(every):
    plain, end = train(noisy_workload())
    evaluated, same_end = train(noisy_workload(), range(0, 30, every))
    assert [(p.lr, p.loss) for p in plain] == [(p.lr, p.loss) for p in evaluated]
    assert sum(p.val_loss is not None for p in evaluated) == len(range(0, 30, every))
    assert end == same_end


def test_training_is_bit_identical_when_the_metric_itself_draws_random_numbers():
    def metric(model, batch):
        np.random.rand()
        return torch.rand(())

    plain, _ = train(noisy_workload())
    evaluated, _ = train(noisy_workload(), range(30), metric_fn=metric)
    assert [p.loss for p in plain] == [p.loss for p in evaluated]
    assert len({p.val_loss for p in evaluated}) == 1  # every evaluation draws the same


def test_an_evaluation_weighs_batches_by_their_samples():
    torch.manual_seed(0)
    inputs, targets = torch.randn(10, 3), torch.randn(10, 1)
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=4)  # 4, 4, 2
    workload = linear_workload(val_loader=loader)
    points, _ = train(workload, {0}, steps=1)
    session = make_session(workload)
    with session.open():
        session.step(0.05)
        whole = nn.functional.mse_loss(workload.model(inputs), targets).item()
    assert points[0].val_loss == pytest.approx(whole, rel=1e-6)


class Opaque:
    """Has no attributes that can be listed."""

    __slots__ = ("inputs",)

    def __init__(self, inputs):
        self.inputs = inputs


def test_batches_whose_samples_nobody_can_count_weigh_alike():
    batches = [Opaque(torch.full((2, 3), 1.0)), Opaque(torch.full((6, 3), 3.0))]
    workload = linear_workload(val_loader=batches)
    points, _ = train(workload, {0}, steps=1, metric_fn=lambda model, batch: batch.inputs.mean())
    assert points[0].val_loss == 2.0


def test_a_metric_is_computed_in_the_precision_of_the_training():
    seen = []

    def metric(model, batch):
        seen.append(model(batch[0]).dtype)
        return 1.0

    train(linear_workload(val_loader=linear_workload().train_loader), {0}, 1, metric_fn=metric, precision="bf16")
    assert set(seen) == {torch.bfloat16}


def test_an_evaluation_is_made_in_eval_mode_and_without_gradient():
    seen = []

    def metric(model, batch):
        seen.append((model.training, torch.is_grad_enabled()))
        return 1

    workload = noisy_workload()
    train(workload, {0}, steps=1, metric_fn=metric)
    assert set(seen) == {(False, False)}
    assert workload.model.training


def test_without_a_val_loader_there_is_nothing_to_evaluate():
    points, _ = train(linear_workload(), {0, 1}, steps=2)
    assert [p.val_loss for p in points] == [None, None]


@pytest.mark.parametrize(
    ("parts", "metric_fn", "told"),
    [
        ({"val_loader": []}, None, "val_loader is empty"),
        ({"val_loader": [(torch.zeros(2, 3), torch.zeros(2, 1))]}, lambda model, batch: "high", "must be a number"),
        (
            {"val_loader": [(torch.zeros(2, 3), torch.zeros(2, 1))]},
            lambda model, batch: torch.ones(2),
            "metric must be a scalar",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_told(parts, metric_fn, told):
    with pytest.raises(WorkloadError, match=told):
        train(linear_workload(**parts), {0}, steps=1, metric_fn=metric_fn)


@dataclasses.dataclass
class Other:
    inputs: torch.Tensor


@pytest.mark.parametrize(
    ("batch", "count"),
    [
        ((torch.zeros(4, 3), torch.zeros(4)), 4),
        ({"ids": torch.zeros(2, 7), "label": torch.zeros(2)}, 2),
        (({"a": torch.zeros(5, 1)}, torch.zeros(5)), 5),
        (torch.tensor(1.0), None),
        (["text", torch.zeros(3)], 3),
        (Other(torch.zeros(6)), 6),
        ("text", None),
    ],
)
def test_the_samples_of_a_batch_are_counted_where_they_can_be(batch, count):
    assert samples_in(batch) == count
