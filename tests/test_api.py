"""The Python API: one call, simple values back, and nothing else changed."""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from small_workloads import digest, linear_workload, make_loader, make_net, random_digest
from torch import Tensor, nn

import lrscout
from lrscout import FindLrResult, LrscoutError, Workload, find_lr
from lrscout.errors import TargetError, UsageError, WorkloadError
from lrscout.formatting import format_lr

SHORT: dict[str, Any] = {"steps": 12, "device": "cpu"}


def search(**settings: Any) -> FindLrResult:
    return find_lr(linear_workload(optimizer=None), **{"device": "cpu", "optimizer": "sgd", **settings})


def test_importing_lrscout_does_not_import_torch() -> None:
    code = "import sys, lrscout; from lrscout import find_lr; dir(lrscout); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_public_names_are_listed_and_others_are_an_attribute_error() -> None:
    assert set(lrscout.__all__) <= set(dir(lrscout))
    assert lrscout.Workload is Workload
    with pytest.raises(AttributeError, match="find_rl"):
        _ = lrscout.find_rl


def test_quadratic_problem_gets_a_rate_below_where_it_diverges() -> None:
    # gradient descent on x**2 * 4 / 2 diverges above a rate of 2 / 4
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    step = lambda model, batch: 2 * model(batch).square().sum()  # noqa: E731
    result = find_lr(
        Workload(model, [torch.ones(1, 1)], step=step), optimizer="sgd", min_lr=1e-4, smoothing=0.0, device="cpu"
    )
    assert result.stop_reason == "diverged"
    assert result.status == "ok"
    assert result.suggestion.lr is not None
    assert 1e-3 < result.suggestion.lr < 0.5
    assert result.points[-1].lr > 0.5


def test_result_is_made_of_plain_values() -> None:
    result = search(steps=40)
    assert [point.step for point in result.points] == list(range(len(result.points)))
    assert result.points[0].lr == 1e-7
    assert set(result.suggestions) >= {result.suggestion.rule}
    assert isinstance(result.warnings, tuple)
    document = json.loads(result.to_json())
    assert document["settings"]["optimizer"] == "sgd"
    assert document["result"]["suggestion"]["lr"] == result.suggestion.lr
    assert len(document["result"]["points"]) == len(result.points)
    assert str(result).startswith("no learning rate (")


def test_a_suggestion_is_printed_in_two_digits() -> None:
    result = find_lr(linear_workload(), device="cpu")
    lr = result.suggestion.lr
    assert lr is not None
    assert str(result).startswith(f"{format_lr(lr)} (")
    assert f"{format_lr(lr)} (" in repr(result)


def test_plot_is_text_of_the_width_asked_for() -> None:
    plot = search(steps=40).plot(width=60)
    assert "\x1b" not in plot
    assert 40 < max(len(line.rstrip()) for line in plot.splitlines()) <= 60


def test_model_with_its_parts_gives_what_a_workload_gives() -> None:
    points = [
        find_lr(make_net(), make_loader(), nn.CrossEntropyLoss(), torch.optim.SGD, **SHORT).points,
        find_lr((make_net(), make_loader(), nn.CrossEntropyLoss(), torch.optim.SGD), **SHORT).points,
        find_lr(make_net(), make_loader(), nn.CrossEntropyLoss(), "sgd", **SHORT).points,
    ]
    assert points[0] == points[1] == points[2]


def test_two_identical_calls_give_identical_results() -> None:
    net, loader = make_net(), make_loader()
    first = find_lr(net, loader, nn.CrossEntropyLoss(), **SHORT)
    random.random(), torch.rand(3)
    second = find_lr(net, loader, nn.CrossEntropyLoss(), **SHORT)
    assert first.points == second.points
    assert first.suggestions == second.suggestions


TARGET = """
import random, torch
import numpy as np
def build(size=3):
    torch.set_grad_enabled(True)
    data = [(torch.randn(4, size) * random.random(), torch.randn(4, 1) * np.random.rand()) for _ in range(3)]
    return {"model": torch.nn.Linear(size, 1), "train_loader": data, "loss_fn": torch.nn.MSELoss()}
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = request.node.name
    (tmp_path / f"{name}.py").write_text(TARGET)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    return f"{name}.py:build"


def test_dotted_path_is_seeded_and_leaves_the_random_states_alone(target: str) -> None:
    before = random_digest()
    first = find_lr(target, kwargs={"size": 2}, **SHORT)
    assert random_digest() == before
    torch.rand(3)
    assert find_lr(target, kwargs={"size": 2}, **SHORT).points == first.points
    assert find_lr(target, kwargs={"size": 2}, seed=1, **SHORT).points != first.points
    assert first.record.target["path"] == target


def test_dotted_path_beside_live_objects_is_an_error(target: str) -> None:
    with pytest.raises(TargetError, match="train_loader, loss_fn cannot be passed with a dotted path"):
        find_lr(target, make_loader(), nn.CrossEntropyLoss())


def test_dotted_path_takes_the_name_of_an_optimizer(target: str) -> None:
    assert find_lr(target, optimizer="sgd", **SHORT).record.environment["optimizer"] == "SGD (--optimizer)"


@pytest.mark.parametrize("given", [{"kwargs": {"size": 2}}, {"app_dir": "."}])
def test_arguments_of_a_dotted_path_beside_live_objects_are_an_error(given: dict[str, Any]) -> None:
    with pytest.raises(TargetError, match="need a dotted path"):
        find_lr(make_net(), make_loader(), nn.CrossEntropyLoss(), **given)


def test_parts_beside_a_workload_are_an_error() -> None:
    with pytest.raises(TargetError, match="loss_fn can only be passed with a model"):
        find_lr(linear_workload(), loss_fn=nn.MSELoss())
    with pytest.raises(TargetError, match="loss_fn can only be passed with a model"):
        find_lr(nn.Linear(3, 1), loss_fn=nn.MSELoss())
    with pytest.raises(TargetError, match="a model without data"):
        find_lr(nn.Linear(3, 1))


BAD_SETTINGS = [
    ({"max_rl": 1.0}, "(?s)nknown setting 'max_rl'.*'max_lr'"),
    ({"steps": 2}, "--steps 2 must be at least 3"),
    ({"steps": 2.5}, "steps must be a whole number"),
    ({"precision": "fp8"}, "(?s)--precision fp8 must be one of"),
    ({"min_lr": 1.0, "max_lr": 0.1}, "--min-lr 1 must be below --max-lr 0.1"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS)
def test_setting_that_cannot_be_used_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        search(**settings)


BAD_ARGUMENTS = [
    ({"command": "python train.py"}, "command must be a list of words"),
    ({"command": []}, "command must be a list of words"),
    ({"command": ["python", 3]}, "command must be a list of words"),
    ({"command": 3}, "command must be a list of words"),
    ({"target": "mod:build", "kwargs": 3}, "kwargs must be a mapping whose keys are names"),
    ({"target": "mod:build", "kwargs": {3: 4}}, "kwargs must be a mapping whose keys are names"),
    ({"target": "mod:build", "app_dir": 3}, "app_dir must be the path of a folder, not int"),
]


@pytest.mark.parametrize("function", [find_lr, lrscout.find_batch_size, lrscout.compare_schedulers])
@pytest.mark.parametrize(("given", "message"), BAD_ARGUMENTS)
def test_argument_of_another_type_is_named(function: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        function(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"command": "true"}, "command must be a list"), ({"record": 3}, "record must be an answer.* not int")],
)
def test_argument_of_another_type_for_a_training_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        lrscout.run(**given)


def test_ctrl_c_is_raised_after_everything_was_put_back() -> None:
    seen: list[Any] = []

    def step(model: nn.Module, batch: Any) -> Tensor:
        seen.append(batch)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return model(batch[0]).square().mean()

    model = nn.Linear(3, 1)
    workload = linear_workload(model=model, step=step, loss_fn=None)
    before = digest(model) + random_digest()
    with pytest.raises(KeyboardInterrupt):
        find_lr(workload, **SHORT)
    assert len(seen) == 5
    assert digest(model) + random_digest() == before


def test_inconclusive_sweep_is_a_result_and_no_error() -> None:
    model = nn.Linear(3, 1)
    workload = Workload(model, [torch.ones(2, 3)], step=lambda m, b: m(b).sum() * 0)
    result = find_lr(workload, **SHORT)
    assert result.suggestion.lr is None
    assert result.status == "inconclusive"
    assert result.suggestion.reason


def test_nan_ends_the_sweep() -> None:
    seen: list[Any] = []

    def step(model: nn.Module, batch: Any) -> Tensor:
        seen.append(batch)
        return model(batch[0]).square().mean() * (math.nan if len(seen) > 4 else 1)

    result = find_lr(linear_workload(step=step, loss_fn=None), **SHORT)
    assert result.stop_reason == "non_finite"
    assert len(result.points) == len(seen) == 5


def test_negative_losses_do_not_end_the_sweep() -> None:
    result = search(steps=20, max_lr=1e-3)
    workload = linear_workload(loss_fn=lambda output, target: nn.functional.mse_loss(output, target) - 100)
    shifted = find_lr(workload, optimizer="sgd", steps=20, max_lr=1e-3, device="cpu")
    assert shifted.stop_reason == result.stop_reason == "completed"


def test_suggestion_names_the_rate_of_every_group() -> None:
    model = nn.Linear(3, 1)
    groups = [{"params": [model.weight], "lr": 1e-2}, {"params": [model.bias], "lr": 1e-3}]
    step = lambda model, batch: (model(batch[0]) - 5).square().mean()  # noqa: E731
    workload = linear_workload(model=model, step=step, loss_fn=None, optimizer=torch.optim.SGD(groups))
    suggestion = find_lr(workload, device="cpu", min_lr=1e-4).suggestion
    assert suggestion.lr is not None
    assert suggestion.groups == pytest.approx((suggestion.lr, suggestion.lr / 10))


def test_steps_skipped_by_the_scaler_are_a_warning() -> None:
    workload = linear_workload(loss_fn=lambda output, target: nn.functional.mse_loss(output.float(), target) * 1e5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = find_lr(workload, precision="fp16", **SHORT)
    assert any("gradient scaler skipped" in warning for warning in result.warnings)


@pytest.mark.parametrize("loader", [[], (batch for batch in ())])
def test_errors_of_the_workload_are_one_family(loader: Any) -> None:
    with pytest.raises(LrscoutError) as raised:
        find_lr(linear_workload(train_loader=loader), **SHORT)
    assert type(raised.value) is WorkloadError
    assert raised.value.hint


def test_both_sweeps_start_from_the_same_state_and_take_no_more_steps_than_allowed() -> None:
    result = search(steps=100, max_steps=100)
    assert result.result.coarse
    assert result.result.coarse[0].loss == result.points[0].loss
    assert result.result.steps == len(result.result.coarse) + len(result.points) <= 100


def test_one_search_answers_for_both_uses() -> None:
    decay, constant = search(), search(use="constant")
    assert (decay.suggestion.use, constant.suggestion.use) == ("decay", "constant")
    assert decay.result.uses == constant.result.uses
    assert decay.suggestion.lr == decay.result.uses["decay"]
    assert constant.suggestion.lr == constant.result.uses["constant"]


def test_epochs_are_the_horizon_in_passes_over_the_data() -> None:
    batches = len(linear_workload().train_loader)  # type: ignore[arg-type]
    by_epochs, by_steps = search(epochs=6), search(horizon=6 * batches)
    assert by_epochs.suggestion.lr == by_steps.suggestion.lr
    assert by_epochs.record.settings["horizon"] == 6 * batches
    assert search(epochs=6, accumulate=2).record.settings["horizon"] == 3 * batches


def test_epochs_need_a_loader_with_a_length() -> None:
    work = linear_workload(optimizer=None)

    class Endless:
        def __iter__(self) -> Any:
            return iter(work.train_loader)

    endless = Workload(work.model, Endless(), work.loss_fn)
    with pytest.raises(UsageError, match="--epochs needs a train_loader with a length"):
        find_lr(endless, epochs=3)


def test_horizon_and_epochs_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="both set the length"):
        search(horizon=400, epochs=3)


def test_an_attached_scheduler_that_knows_its_steps_tells_the_horizon() -> None:
    plain = linear_workload()
    optimizer = torch.optim.SGD(plain.model.parameters(), lr=0.1)
    work = Workload(plain.model, plain.train_loader, plain.loss_fn, optimizer)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=1234, cycle_momentum=False)
    result = find_lr(work)
    assert result.record.settings["horizon"] == scheduler.total_steps
    assert any("1234 steps" in warning for warning in result.warnings)
    assert find_lr(work, horizon=50).record.settings["horizon"] == 50


def test_a_longer_horizon_lowers_the_rate() -> None:
    rates = [search(horizon=steps, max_steps=150).suggestion.lr for steps in (100, 400, 4000)]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == 3


SEEDED = """
import torch
from torch import nn

def build():
    inputs = [torch.randn(8, 3) for _ in range(4)]
    batches = [(x, x.sum(1, keepdim=True)) for x in inputs]
    return nn.Linear(3, 1), batches, nn.MSELoss()
"""


def test_seeds_build_anew_and_suggest_the_median(tmp_path: Path) -> None:
    (tmp_path / "seeded_target.py").write_text(SEEDED)
    given: dict[str, Any] = {"app_dir": tmp_path, "device": "cpu", "optimizer": "sgd"}
    single = [find_lr("seeded_target:build", seed=seed, **given).suggestion.lr for seed in (5, 6, 7)]
    several = find_lr("seeded_target:build", seed=5, seeds=3, **given)
    assert len(set(single)) == 3
    assert [each.seed for each in several.result.seeds] == [5, 6, 7]
    assert [each.uses["decay"] for each in several.result.seeds] == pytest.approx(single)
    assert several.suggestion.lr == pytest.approx(statistics.median(single))


def test_a_function_is_built_with_its_arguments() -> None:
    seen = []

    def build(width: int) -> Any:
        seen.append(width)
        return linear_workload()

    result = find_lr(build, kwargs={"width": 3}, steps=12, device="cpu")
    assert seen == [3]
    assert result.record.target["kwargs"] == {"width": 3}
