"""A workload may come in many forms, and its loss is computed as its form says."""

from __future__ import annotations

import re
from collections import OrderedDict
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from small_workloads import linear_workload, steps
from torch import Tensor, nn

from lrscout.engine.losses import loss_of
from lrscout.engine.optimizers import make_optimizers, optimizer_class
from lrscout.engine.workload import Workload, make_workload
from lrscout.errors import LrscoutError, TargetError, UsageError, WorkloadError

BATCHES = [(torch.ones(2, 3), torch.zeros(2, 1))]


class Named(NamedTuple):
    model: nn.Module
    train_loader: Any
    loss_fn: Any


MODEL, LOSS = nn.Linear(3, 1), nn.MSELoss()
FORMS = {
    "workload": Workload(MODEL, BATCHES, LOSS),
    "mapping": {"model": MODEL, "train_loader": BATCHES, "loss_fn": LOSS},
    "tuple": (MODEL, BATCHES, LOSS),
    "namedtuple": Named(MODEL, BATCHES, LOSS),
    "attributes": SimpleNamespace(model=MODEL, train_loader=BATCHES, loss_fn=LOSS, other=1),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_workload(form: str) -> None:
    assert make_workload(FORMS[form]) == Workload(MODEL, BATCHES, LOSS)


def test_a_tuple_has_two_parts_to_five() -> None:
    assert make_workload((MODEL, BATCHES)) == Workload(MODEL, BATCHES)
    held_out = [BATCHES[0]]
    assert make_workload((MODEL, BATCHES, LOSS, torch.optim.SGD, held_out)) == Workload(
        MODEL, BATCHES, LOSS, torch.optim.SGD, held_out
    )
    with pytest.raises(TargetError, match="6"):
        make_workload((MODEL, BATCHES, LOSS, torch.optim.SGD, held_out, None))


def test_a_loader_may_be_iterated_by_its_indices_alone() -> None:
    class Indexed:
        def __getitem__(self, index: int) -> Any:
            return BATCHES[index]

    assert len(steps(linear_workload(train_loader=Indexed()), 3)) == 3


def test_a_function_that_forgets_to_return_is_hinted_at() -> None:
    hints = []
    for given in (None, 3):
        with pytest.raises(TargetError) as raised:
            make_workload(given)
        hints.append("return statement" in str(raised.value.hint))
    assert hints == [True, False]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (MODEL, "not a model without data"),
        (None, "'NoneType'"),
        ((MODEL,), "tuple has 1 items"),
        ({"model": MODEL}, "lacks train_loader"),
        ({"model": MODEL, "train_loader": BATCHES, "lossfn": LOSS}, r"(?s)unknown key 'lossfn'.*'loss_fn'"),
        ((nn.Linear, BATCHES, LOSS), "model must be a torch.nn.Module, not 'type'"),
        ((MODEL, 3, LOSS), "train_loader must be iterable, not 'int'"),
        ((MODEL, BATCHES, "mse"), "loss_fn must be a function, not 'str'"),
        ((MODEL, BATCHES, LOSS, "adam"), "optimizer must be an Optimizer, several of them, or a function, not 'str'"),
    ],
)
def test_what_is_no_workload_is_named(given: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        make_workload(given)


class Echo(nn.Module):
    """Says how it was called; its output is whatever `shape` makes of the loss."""

    def __init__(self, shape: Any = lambda loss: loss) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.shape, self.seen = shape, None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.seen = (args, kwargs)
        return self.shape(self.weight * 2)


CALLS = [
    (5, (5,), {}),
    ((5, 6), (5, 6), {}),
    ([5, 6], (5, 6), {}),
    ({"a": 5}, (), {"a": 5}),
    (OrderedDict(a=5), (), {"a": 5}),
]


@pytest.mark.parametrize(("inputs", "args", "kwargs"), CALLS)
def test_inputs_are_passed_by_their_form(inputs: Any, args: Any, kwargs: Any) -> None:
    for loss_fn, batch in ((None, inputs), (lambda output, target: output * target, (inputs, 7))):
        model = Echo()
        loss = loss_of(Workload(model, [], loss_fn))(batch)
        assert model.seen == (args, kwargs)
        assert loss == (2 if loss_fn is None else 14)


class Output(OrderedDict[str, Any]):
    """As Hugging Face's ModelOutput: keys are attributes."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        return self[name]


@pytest.mark.parametrize(
    "shape",
    [
        lambda loss: loss,
        lambda loss: {"loss": loss, "logits": None},
        lambda loss: Output(loss=loss, logits=None),
        lambda loss: SimpleNamespace(loss=loss),
    ],
)
def test_model_may_give_its_own_loss(shape: Any) -> None:
    assert loss_of(Workload(Echo(shape), []))(1) == 2


@pytest.mark.parametrize("shape", [lambda loss: (loss, 1), lambda _: None, lambda _: {"logits": 1}, lambda _: 0.5])
def test_model_without_a_loss_needs_a_loss_fn(shape: Any) -> None:
    with pytest.raises(WorkloadError, match="no loss_fn, and the model returned"):
        loss_of(Workload(Echo(shape), []))(1)


@pytest.mark.parametrize("batch", [torch.ones(2), (1,), (1, 2, 3), {"x": 1, "y": 2}, "ab", object()])
def test_with_loss_fn_a_batch_that_is_no_pair_is_named(batch: Any) -> None:
    with pytest.raises(WorkloadError, match=re.escape(repr(type(batch).__name__))):
        loss_of(Workload(MODEL, [], LOSS))(batch)


class Trainer:
    def step(self, batch: Any) -> Any:
        return ("method", batch)


STEPS = [
    (lambda batch: ("batch", batch), ("batch", 1)),
    (lambda model, batch: (model, batch), (MODEL, 1)),
    (lambda batch, scale=2: (batch, scale), (1, 2)),
    (partial(lambda extra, batch: (extra, batch), 3), (3, 1)),
    (Trainer().step, ("method", 1)),
]


@pytest.mark.parametrize(("step", "expected"), STEPS)
def test_step_takes_the_batch_or_the_model_and_the_batch(step: Any, expected: Any) -> None:
    assert loss_of(Workload(MODEL, [], step=step))(1) == expected


def test_step_of_another_form_is_an_error() -> None:
    with pytest.raises(TargetError, match="must accept"):
        loss_of(Workload(MODEL, [], step=lambda a, b, c: None))


def test_step_wins_over_loss_fn() -> None:
    assert loss_of(Workload(MODEL, [], LOSS, step=lambda batch: batch))(4) == 4


def optimizer_of(given: Any, name: str | None = None, **arguments: Any) -> tuple[torch.optim.Optimizer, str]:
    made = make_optimizers(Workload(nn.Linear(3, 1), [], optimizer=given), name, arguments)
    return next(iter(made.all.values())), made.description


def test_optimizer_may_be_an_instance_a_class_or_a_function() -> None:
    instance = torch.optim.SGD(MODEL.parameters(), lr=0.3)
    assert optimizer_of(instance) == (instance, "SGD (the target's own)")
    assert isinstance(optimizer_of(torch.optim.SGD)[0], torch.optim.SGD)
    assert optimizer_of(partial(torch.optim.SGD, momentum=0.5))[0].param_groups[0]["momentum"] == 0.5


def test_optimizer_is_adamw_unless_named() -> None:
    made, why = optimizer_of(None)
    assert (type(made), why) == (torch.optim.AdamW, "AdamW (default)")
    made, why = optimizer_of(None, "sgd", momentum=0.9)
    assert (type(made), why) == (torch.optim.SGD, "SGD (--optimizer)")
    assert made.param_groups[0]["momentum"] == 0.9


def test_optimizer_name_ignores_case_and_offers_the_closest() -> None:
    assert optimizer_class("AdamW") is torch.optim.AdamW
    with pytest.raises(UsageError, match=r"(?s)no optimizer 'admw'.*'adamw'"):
        optimizer_class("admw")
    with pytest.raises(UsageError, match="no optimizer 'optimizer'"):
        optimizer_class("optimizer")


@pytest.mark.parametrize("arguments", [{"momentun": 0.9}, {"momentum": -1.0}, {"lr": "fast"}])
def test_arguments_that_the_optimizer_refuses_are_a_usage_error(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"(?s)torch.optim.SGD cannot be created: .*--optimizer-arg"):
        optimizer_of(None, "sgd", **arguments)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_muon_says_that_it_takes_matrices_only() -> None:
    with pytest.raises(UsageError, match=r"(?s)Muon cannot be created: Muon only supports 2D parameters.*another"):
        optimizer_of(None, "muon")


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_muon_trains_matrices() -> None:
    model = nn.Linear(3, 1, bias=False)
    assert len(set(steps(linear_workload(model=model), 3, optimizer="muon"))) == 3


def test_optimizer_flags_beside_the_targets_own_are_an_error() -> None:
    with pytest.raises(UsageError, match="has its own optimizer"):
        optimizer_of(torch.optim.SGD, "adamw")
    with pytest.raises(UsageError, match="has its own optimizer"):
        optimizer_of(torch.optim.SGD, momentum=0.9)


def test_optimizer_function_that_gives_something_else_is_an_error() -> None:
    with pytest.raises(TargetError, match="must return an Optimizer, not 'int'"):
        optimizer_of(lambda parameters: 3)


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Linear(3, 1).requires_grad_(False)])
def test_model_without_trainable_parameters_is_an_error(model: nn.Module) -> None:
    with pytest.raises(WorkloadError, match="No parameter of the model requires grad"):
        make_optimizers(Workload(model, []), None, {})


def test_frozen_parameters_stay_out_of_the_optimizer() -> None:
    model = nn.Sequential(nn.Linear(3, 3).requires_grad_(False), nn.Linear(3, 1))
    (made,) = make_optimizers(Workload(model, []), None, {}).all.values()
    assert [id(p) for group in made.param_groups for p in group["params"]] == [id(p) for p in model[1].parameters()]


def test_sparse_adam_trains_sparse_embeddings() -> None:
    model = nn.EmbeddingBag(5, 1, sparse=True)
    batches = [(torch.tensor([[1, 2], [3, 4]]), torch.ones(2, 1))]
    workload = linear_workload(model=model, train_loader=batches)
    losses = steps(workload, 3, optimizer="sparseadam")
    assert losses[2] < losses[0]


def test_errors_of_the_users_optimizer_function_pass_through() -> None:
    def broken(parameters: Any) -> Any:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine") as raised:
        optimizer_of(broken)
    assert not isinstance(raised.value, LrscoutError)


def test_tensor_batch_goes_whole_to_a_model_with_its_own_loss() -> None:
    model = Echo()
    batch = torch.arange(3)
    assert isinstance(loss_of(Workload(model, []))(batch), Tensor)
    assert model.seen is not None
    assert model.seen[0][0] is batch
