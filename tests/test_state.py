"""Whatever a search borrows comes back as it was: the same values in the same objects."""

from __future__ import annotations

import copy
import functools
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_workloads import Net, digest, linear_workload, make_loader, make_net, make_session, random_digest, steps
from torch import Tensor, nn

from lrscout import find_lr
from lrscout.engine.batches import Batches
from lrscout.engine.state import reachable
from lrscout.engine.workload import Workload
from lrscout.errors import WorkloadError

SHORT = {"steps": 12, "device": "cpu"}


class Borrowed:
    """A net in the middle of its training: momentum, gradients, a frozen part in eval mode, used random generators."""

    def __init__(self, optimizer: Any = None) -> None:
        random.seed(5)
        np.random.seed(6)
        self.net = make_net()
        self.loader = make_loader()
        make = optimizer or (lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9))
        self.optimizer = make(self.net.parameters())
        for inputs, target in self.loader:
            nn.functional.cross_entropy(self.net(inputs), target).backward()
            self.optimizer.step()  # gradients are left where they are
        self.net.norm.eval()

    def digest(self) -> str:
        return digest(self.net, self.optimizer, self.loader.generator) + random_digest()

    def find(self, **parts: Any) -> Any:
        given = {"model": self.net, "train_loader": self.loader, "optimizer": self.optimizer}
        given |= {} if "step" in parts else {"loss_fn": nn.CrossEntropyLoss()}
        return find_lr({**given, **parts}, **SHORT)


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=torch.tensor(0.01), amsgrad=True)


@pytest.mark.parametrize("make", [None, adamw])
def test_everything_comes_back_after_a_sweep(make: Any) -> None:
    borrowed = Borrowed(make)
    before = borrowed.digest()
    result = borrowed.find()
    assert len({point.loss for point in result.points}) > 1
    assert borrowed.digest() == before


def test_digest_sees_every_change() -> None:
    changes = [
        lambda b: b.net.head.bias.data.add_(1e-7),
        lambda b: b.net.calls.add_(1),
        lambda b: b.net.norm.train(),
        lambda b: b.net.head.bias.grad.add_(1e-7),
        lambda b: b.optimizer.state[b.net.head.bias]["momentum_buffer"].add_(1e-7),
        lambda b: next(iter(b.loader)),
        lambda _: random.random(),
        lambda _: np.random.rand(),
    ]
    digests = [Borrowed().digest()]
    for change in changes:
        borrowed = Borrowed()
        change(borrowed)
        digests.append(borrowed.digest())
    assert len(set(digests)) == len(changes) + 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_everything_comes_back_when_a_step_raises(error: type[BaseException]) -> None:
    borrowed = Borrowed()
    before, seen = borrowed.digest(), []

    def step(model: nn.Module, batch: Any) -> Tensor:
        seen.append(batch)
        if len(seen) == 6:
            raise error
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    with pytest.raises(error):
        borrowed.find(step=step)
    assert len(seen) == 6
    assert borrowed.digest() == before


def test_everything_comes_back_when_the_loader_raises() -> None:
    borrowed = Borrowed()
    before = borrowed.digest()

    class Failing:
        def __iter__(self) -> Any:
            yield from list(borrowed.loader)[:3]
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        borrowed.find(train_loader=Failing(), val_loader=borrowed.loader)
    assert borrowed.digest() == before


def test_everything_comes_back_when_the_first_batch_cannot_be_used() -> None:
    borrowed = Borrowed()
    before = borrowed.digest()
    with pytest.raises(WorkloadError):
        borrowed.find(train_loader=[])
    assert borrowed.digest() == before


def test_objects_keep_their_identity() -> None:
    borrowed = Borrowed()
    net, optimizer = borrowed.net, borrowed.optimizer

    def identities() -> list[int]:
        held = [*net.parameters(), *net.buffers(), *net.modules(), optimizer.param_groups]
        held += [p.grad for p in net.parameters()]
        held += [tensor for entry in optimizer.state.values() for tensor in entry.values()]
        return [*map(id, held), *(p.data_ptr() for p in net.parameters())]

    before = identities()
    borrowed.find()
    assert identities() == before
    assert net.again.weight is net.inner.weight


def test_no_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    Borrowed().find()
    assert list(tmp_path.rglob("*")) == []


def train(net: Net, loader: Any, optimizer: torch.optim.Optimizer, epochs: int = 2) -> None:
    for _ in range(epochs):
        for inputs, target in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(inputs), target).backward()
            optimizer.step()


@pytest.mark.parametrize("loader_options", [{}, {"generator": None}])
def test_training_after_find_lr_is_bit_identical_to_training_without(loader_options: dict[str, Any]) -> None:
    weights = []
    for search_first in (False, True):
        net, loader = make_net(), make_loader(**loader_options)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
        torch.manual_seed(9)
        if search_first:
            find_lr(net, loader, nn.CrossEntropyLoss(), optimizer, **SHORT)
        train(net, loader, optimizer)
        weights.append(digest(net, optimizer))
    assert weights[0] == weights[1]


class Noisy(torch.utils.data.Dataset[Any]):
    """Samples with noise from the workers' random states."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.randn(6), torch.tensor(index % 2)


def with_persistent_workers() -> tuple[nn.Module, torch.utils.data.DataLoader, torch.optim.Optimizer]:
    net = make_net()
    loader = torch.utils.data.DataLoader(
        Noisy(), 4, shuffle=True, num_workers=1, persistent_workers=True, multiprocessing_context="fork"
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
    torch.manual_seed(9)
    return net, loader, optimizer


def test_persistent_workers_draw_the_same_after_find_lr_as_without() -> None:
    weights = []
    for search_first in (False, True):
        net, loader, optimizer = with_persistent_workers()
        if search_first:
            find_lr(net, loader, nn.CrossEntropyLoss(), optimizer, **SHORT)
            assert loader._iterator is None
        train(net, loader, optimizer)
        weights.append(digest(net))
    assert weights[0] == weights[1]


def test_persistent_workers_that_are_under_way_are_set_aside() -> None:
    weights = []
    for search_first in (False, True):
        net, loader, optimizer = with_persistent_workers()
        train(net, loader, optimizer, epochs=1)
        workers = loader._iterator
        if search_first:
            find_lr(net, loader, nn.CrossEntropyLoss(), optimizer, **SHORT)
        assert loader._iterator is workers is not None
        train(net, loader, optimizer, epochs=1)
        weights.append(digest(net))
    assert weights[0] == weights[1]


def test_generators_of_datasets_samplers_and_models_come_back() -> None:
    class Stream:
        def __init__(self) -> None:
            self.numpy = np.random.default_rng(1)
            self.old_numpy = np.random.RandomState(1)
            self.python = random.Random(1)
            self.torch = torch.Generator().manual_seed(1)

        def draw(self) -> list[Any]:
            last = torch.rand((), generator=self.torch).item()
            return [self.numpy.random(), self.old_numpy.rand(), self.python.random(), last]

        def __iter__(self) -> Any:
            for _ in range(4):
                yield torch.tensor([self.draw()[:3]], dtype=torch.float32), torch.tensor([self.draw()[3:]])

    stream = Stream()
    steps(linear_workload(train_loader=stream), 6)
    assert stream.draw() == Stream().draw()


def test_loss_module_with_parameters_and_buffers_comes_back() -> None:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
            self.register_buffer("mean", torch.zeros(()))

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            self.mean.lerp_(target.mean(), 0.5)
            return ((output * self.scale - target - self.mean) ** 2).mean()

    loss, model = Loss(), nn.Linear(3, 1)
    optimizer = torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=0.1)
    before = digest(model, loss)
    steps(linear_workload(model=model, loss_fn=loss, optimizer=optimizer), 5)
    assert digest(model, loss) == before


def test_what_a_step_holds_in_its_closure_comes_back() -> None:
    model, teacher, critic = nn.Linear(3, 1), nn.Linear(3, 1), nn.Linear(3, 1)
    second = torch.optim.Adam(critic.parameters(), lr=0.1)

    def step(model: nn.Module, batch: Any) -> Tensor:
        second.zero_grad()
        critic(batch[0]).mean().backward()
        second.step()
        with torch.no_grad():
            teacher.weight.lerp_(model.weight, 0.5)
        return (model(batch[0]) - teacher(batch[0]) - critic(batch[0])).square().mean()

    before = digest(model, teacher, critic, second)
    steps(linear_workload(model=model, step=step, loss_fn=None), 3)
    assert digest(model, teacher, critic, second) == before


def test_lists_in_an_optimizers_state_come_back() -> None:
    torch.manual_seed(1)
    critic = nn.Linear(3, 1)
    second = torch.optim.LBFGS(critic.parameters(), lr=0.1, max_iter=2)  # keeps its directions in lists

    def step(model: nn.Module, batch: Any) -> Tensor:
        def closure() -> Tensor:
            second.zero_grad()
            loss = (critic(batch[0]) - 1).square().mean()
            loss.backward()
            return loss

        second.step(closure)  # type: ignore[arg-type]
        return (model(batch[0]) - critic(batch[0]).detach()).square().mean()

    for _ in range(5):
        step(nn.Linear(3, 1), (torch.randn(4, 3),))

    def listed() -> list[int]:
        values = [value for value in second.state[critic.weight].values() if isinstance(value, list)]
        return [id(item) for value in values for item in value if isinstance(item, Tensor)]

    before, tensors = digest(critic, second), listed()
    assert tensors
    steps(linear_workload(step=step, loss_fn=None), 3)
    assert digest(critic, second) == before
    assert listed() == tensors  # the same tensors, and not only their values


def test_modules_are_found_behind_methods_partials_and_unassigned_closures() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.teacher = nn.Linear(1, 1)

        def step(self, batch: Any) -> Any:
            return later(batch)

    def closure(batch: Any) -> Any:
        return later(batch)

    trainer = Trainer()
    assert reachable(nn.Module, trainer.step) == [trainer.teacher]
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    assert reachable(nn.Module, functools.partial(trainer.step, first, other=second)) == [first, second]
    assert reachable(nn.Module, closure, None, torch.nn.functional.mse_loss, len) == []
    later = nn.Linear(1, 1)
    assert reachable(nn.Module, closure) == [later]


def test_buffers_and_attributes_made_by_forward_go_away() -> None:
    class Caching(nn.Linear):
        steps = 0

        def forward(self, inputs: Tensor) -> Tensor:
            self.steps += 1
            self.hidden = inputs.mean()
            if "cache" not in self._buffers:
                self.register_buffer("cache", torch.ones(1), persistent=False)
                self.extra = nn.Linear(1, 1)
            return super().forward(inputs) * self.cache

    model = Caching(3, 1)
    names, attributes = list(model.state_dict()), set(vars(model))
    steps(linear_workload(model=model), 3)
    assert model.steps == 0
    assert list(model.state_dict()) == names
    assert set(vars(model)) == attributes
    assert "cache" not in model._non_persistent_buffers_set


def test_buffers_that_torch_cannot_write_to_are_left_alone() -> None:
    model = nn.Linear(3, 1)
    model.register_buffer("expanded", torch.ones(1).expand(5))
    with torch.inference_mode():
        model.register_buffer("inference", torch.ones(2))
    before = digest(model)
    steps(linear_workload(model=model), 2)
    assert digest(model) == before


def test_parameters_whose_data_or_requirements_change_come_back() -> None:
    model = nn.Linear(3, 1)
    model.bias.requires_grad_(False)
    before, addresses = digest(model), [p.data_ptr() for p in model.parameters()]

    def step(model: nn.Linear, batch: Any) -> Tensor:
        model.bias.requires_grad_(True)
        loss = (model(batch[0]) - batch[1]).square().mean()
        model.bias.data = model.bias.data.double()[:1].float() * 2
        return loss

    steps(linear_workload(model=model, step=step, loss_fn=None), 2)
    assert digest(model) == before
    assert [p.data_ptr() for p in model.parameters()] == addresses
    assert not model.bias.requires_grad


def test_scripted_model_comes_back() -> None:
    with warnings.catch_warnings(action="ignore"):  # torch.jit is deprecated
        model = torch.jit.script(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)))
    model.eval()
    before = digest(list(model.parameters()), list(model.buffers()))
    steps(linear_workload(model=model), 3)
    assert digest(list(model.parameters()), list(model.buffers())) == before
    assert not any(module.training for module in model.modules())


def test_optimizer_loses_what_the_search_added() -> None:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    before = copy.deepcopy(scheduler.state_dict())

    def step(model: nn.Module, batch: Any) -> Tensor:
        optimizer.param_groups[0]["note"] = 1
        optimizer.counter = 1  # type: ignore[attr-defined]
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})
        return (model(batch[0]) - batch[1]).square().mean()

    attributes, groups = set(vars(optimizer)), optimizer.param_groups
    steps(linear_workload(model=model, step=step, loss_fn=None, optimizer=optimizer), 3)
    assert not optimizer.state
    assert optimizer.param_groups is groups
    assert len(groups) == 1
    assert "note" not in optimizer.param_groups[0]
    assert set(vars(optimizer)) == attributes
    assert scheduler.state_dict() == before
    with pytest.warns(UserWarning, match=r"before `optimizer.step\(\)`"):  # as it would without a search
        scheduler.step()


def switches() -> tuple[bool, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )


def set_switches(deterministic: bool, warn_only: bool, cudnn_deterministic: bool, benchmark: bool) -> None:
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn_deterministic, benchmark


@pytest.mark.parametrize("before", [(False, False, False, False), (True, True, False, True)])
def test_process_wide_switches_come_back(before: tuple[bool, ...]) -> None:
    workload = linear_workload()
    seen: list[tuple[bool, ...]] = []

    def step(model: nn.Module, batch: Any) -> Tensor:
        seen.append(switches())
        return model(batch[0]).square().mean()

    plain = switches()
    set_switches(*before)
    try:
        given = Workload(workload.model, workload.train_loader, step=step)
        steps(given, 2, deterministic=True, cudnn_benchmark=not before[3])
        assert seen == [(True, False, True, not before[3])] * 2
        assert switches() == before
        steps(given, 1)  # which asks for nothing
        assert seen[2] == before
    finally:
        set_switches(*plain)


def test_gradients_of_the_user_are_not_added_to() -> None:
    workload = linear_workload()
    fresh = steps(workload, 3)
    for parameter in workload.model.parameters():
        parameter.grad = torch.full_like(parameter, 1e6)
    assert steps(workload, 3) == fresh
    assert all((parameter.grad == 1e6).all() for parameter in workload.model.parameters())


def test_gradients_of_parameters_outside_the_optimizer_are_not_added_to() -> None:
    model = nn.Linear(3, 1)
    model.bias.grad = torch.full_like(model.bias, 1e6)
    steps(linear_workload(model=model, optimizer=torch.optim.SGD([model.weight], lr=0.1)), 3)
    assert (model.bias.grad == 1e6).all()


def test_workers_of_the_loader_end_with_the_session() -> None:
    loader = make_loader(num_workers=2, multiprocessing_context="fork")
    workload = linear_workload(model=make_net(), train_loader=loader, loss_fn=nn.CrossEntropyLoss())
    session = make_session(workload)
    with session.open():
        session.step(0.1)
        assert isinstance(session._batches, Batches)
        workers = list(session._batches._iterator._workers)
        assert len(workers) == 2
        assert all(worker.is_alive() for worker in workers)
    assert not any(worker.is_alive() for worker in workers)
