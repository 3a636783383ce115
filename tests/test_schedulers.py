"""One way to drive every kind of schedule on a real optimizer."""

from __future__ import annotations

import functools
import sys
import warnings

import pytest
import torch
from small_workloads import linear_workload, make_session
from torch.optim import SGD, Adagrad, AdamW, lr_scheduler

from lrscout.engine.schedulers import attached_total, make_scheduler, multipliers
from lrscout.errors import TargetError, UsageError, WorkloadError
from lrscout.schedules import SCHEDULES, parse_schedule

TOTAL = 20
USER_CODE = """
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau


def half(step, total):
    return 0.5 if step >= total / 2 else 1.0


def power(step, total, power=1.0):
    return (1 - step / total) ** power


def nothing(step, total):
    return None


def rising(step, total):
    return -step


def linear(optimizer, total_steps, floor=0.0):
    return LambdaLR(optimizer, lambda step: max(1 - step / total_steps, floor))


def per_group(opt, total):
    return LambdaLR(opt, [lambda step: 1.0, lambda step: 0.5])


def absolute(optimizer, total_steps):
    return OneCycleLR(optimizer, max_lr=0.3, total_steps=total_steps)


def no_scheduler(optimizer, total_steps):
    return [optimizer]


def raises(optimizer, total_steps):
    raise ZeroDivisionError("the user's own")


number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "curves.py").write_text(USER_CODE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield str(tmp_path)
    sys.modules.pop("curves", None)


def weights():
    return [torch.nn.Parameter(torch.zeros(2))]


def two_groups(kind=SGD, **more):
    return kind([{"params": weights(), "lr": 0.01}, {"params": weights(), "lr": 0.1}], **more)


def rates(text, optimizer, peak=1.0, total=TOTAL, app_dir=None):
    """The groups' rates at every step."""
    scheduler = make_scheduler(parse_schedule(text), [optimizer], peak, total, app_dir)
    seen = []
    for step in range(total):
        lr = scheduler.before_step(step)
        seen.append([float(group["lr"]) for group in optimizer.param_groups])
        assert lr == pytest.approx(max(seen[-1]))
    return seen


TORCH = [
    "torch:CosineAnnealingLR:T_max=$total",
    "torch:OneCycleLR:max_lr=$peak,total_steps=$total",
    "torch:CyclicLR:base_lr=0.001,max_lr=$peak,step_size_up=4,cycle_momentum=false",
    "torch:MultiStepLR:milestones=[5,10],gamma=0.5,warmup=0.1",
    "torch:ReduceLROnPlateau",
]
USERS = ["curves:half", "curves:power:power=2,warmup=3", "curves:linear", "curves:linear:floor=0.2,warmup=0.2"]


@pytest.mark.parametrize("text", [*SCHEDULES, *TORCH, *USERS])
def test_all_groups_keep_their_ratios_under_every_kind_of_schedule(text, folder):
    for small, large in rates(text, two_groups(momentum=0.9), peak=0.5, app_dir=folder):
        assert small == pytest.approx(0.1 * large)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_built_in_sets_the_peak_rate_times_its_multiplier(name):
    spec = parse_schedule(f"{name}:warmup=3")
    found = rates(spec.label, two_groups(), peak=0.5)
    assert [pair[1] for pair in found] == pytest.approx([0.5 * spec(step, TOTAL) for step in range(TOTAL)])


def test_a_rate_that_is_a_tensor_is_filled_in_place():
    optimizer = AdamW(weights(), lr=torch.tensor(0.1))
    before = optimizer.param_groups[0]["lr"]
    for text in ("cosine", "torch:CosineAnnealingLR:T_max=$total"):
        rates(text, optimizer)
        assert optimizer.param_groups[0]["lr"] is before


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("torch:CosineAnnealingLR:T_max=$total", "cosine"),
        ("torch:CosineAnnealingLR:T_max=$total,warmup=0.2", "cosine:warmup=0.2"),
        ("torch:OneCycleLR:max_lr=$peak,total_steps=$total", "one-cycle"),
        ("torch:MultiStepLR:milestones=[10,15]", "multistep"),
        ("torch:LinearLR:start_factor=1.0,end_factor=0.0,total_iters=$total,warmup=5", "linear:warmup=5"),
        ("curves:power", "linear"),
        ("curves:power:power=3,warmup=4", "polynomial:power=3,warmup=4"),
        ("curves:linear", "linear"),
        ("curves:linear:warmup=0.25", "linear:warmup=0.25"),
    ],
)
def test_torchs_and_the_users_own_go_as_the_built_in_of_the_same_shape(text, same, folder):
    assert multipliers(parse_schedule(text), TOTAL, folder) == pytest.approx(multipliers(parse_schedule(same), TOTAL))


def test_the_warmup_is_the_schedules_own_affair_where_an_argument_is_the_warmup(folder):
    spec = parse_schedule("curves:power:power=$warmup,warmup=2")
    assert multipliers(spec, TOTAL, folder) == pytest.approx([(1 - step / TOTAL) ** 2 for step in range(TOTAL)])


def test_a_warmup_longer_than_the_run_is_all_of_it_for_every_kind(folder):
    for text in ("cosine:warmup=9", "torch:CosineAnnealingLR:T_max=$total,warmup=9", "curves:linear:warmup=9"):
        assert multipliers(parse_schedule(text), 3, folder) == pytest.approx([0.1, 0.2, 0.3])


def test_what_a_factory_sets_for_each_group_holds(folder):
    assert rates("curves:per_group", two_groups(), app_dir=folder)[7] == pytest.approx([0.1, 0.5])
    assert rates("curves:absolute", two_groups(momentum=0.9), app_dir=folder)[5] == pytest.approx([0.3, 0.3])


@pytest.mark.parametrize("name", ["one-cycle", "torch:OneCycleLR:max_lr=$peak,total_steps=$total"])
@pytest.mark.parametrize(
    ("make", "momentum_of"),
    [
        (lambda: SGD(weights(), lr=0.1, momentum=0.9), lambda group: group["momentum"]),
        (lambda: AdamW(weights(), lr=0.1, betas=(0.9, 0.99)), lambda group: group["betas"][0]),
    ],
    ids=["momentum", "beta"],
)
def test_the_momentum_is_cycled_as_torch_does_it(name, make, momentum_of):
    ours, theirs = make(), make()
    scheduler = make_scheduler(parse_schedule(name), [ours], 0.1, TOTAL)
    torchs = lr_scheduler.OneCycleLR(theirs, max_lr=0.1, total_steps=TOTAL)
    for step in range(TOTAL):
        scheduler.before_step(step)
        assert momentum_of(ours.param_groups[0]) == pytest.approx(momentum_of(theirs.param_groups[0]))
        theirs.step()
        if step < TOTAL - 1:
            torchs.step()
    assert ours.param_groups[0].get("betas", (0, 0.99))[1] == 0.99


@pytest.mark.parametrize(
    ("text", "optimizer"),
    [
        ("one-cycle:cycle_momentum=false", SGD(weights(), lr=0.1, momentum=0.9)),
        ("one-cycle", SGD(weights(), lr=0.1)),  # plain SGD is a choice
        ("cyclic", Adagrad(weights(), lr=0.1)),
    ],
)
def test_the_momentum_is_left_alone_where_there_is_none_or_it_is_switched_off(text, optimizer):
    before = {key: value for key, value in optimizer.param_groups[0].items() if key not in ("lr", "params")}
    rates(text, optimizer)
    assert {key: optimizer.param_groups[0][key] for key in before} == before


@pytest.mark.parametrize("text", ["plateau:factor=0.5,patience=1", "torch:ReduceLROnPlateau:factor=0.5,patience=1"])
def test_plateau_cuts_the_rate_once_evaluations_stop_improving(text):
    optimizer = two_groups()
    scheduler = make_scheduler(parse_schedule(text), [optimizer], 0.8, TOTAL)
    assert scheduler.needs_metric
    seen = []
    for step, metric in enumerate([3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0]):
        seen.append(scheduler.before_step(step))
        scheduler.after_evaluation(metric)
    assert seen == pytest.approx([0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.2])


def test_a_schedule_without_a_metric_says_so_and_is_not_moved_by_one():
    scheduler = make_scheduler(parse_schedule("torch:StepLR:step_size=5"), [two_groups()], 1.0, TOTAL)
    assert not scheduler.needs_metric
    scheduler.after_evaluation(1.0)
    assert scheduler.before_step(4) == 1.0


def test_torchs_scheduler_neither_marks_nor_patches_the_real_optimizer():
    optimizer = two_groups(momentum=0.9)
    keys, step = [set(group) for group in optimizer.param_groups], optimizer.step
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns where its scheduler is stepped before the optimizer
        rates("torch:OneCycleLR:max_lr=$peak,total_steps=$total", optimizer)
    assert [set(group) for group in optimizer.param_groups] == keys
    assert optimizer.step == step


def test_rates_that_the_user_set_are_known_after_an_attached_scheduler_took_them_to_zero():
    optimizer = two_groups()
    lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    assert rates("torch:StepLR:step_size=50", optimizer)[0] == pytest.approx([0.1, 1.0])


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("torch:CosineAnealingLR", UsageError, "Did you mean 'CosineAnnealingLR'?"),
        ("torch:CosineAnnealingLR", UsageError, "missing a required argument: 'T_max'"),
        ("torch:StepLR:step_sise=3", UsageError, "Did you mean 'step_size'?"),
        ("torch:StepLR:step_size=three", UsageError, "StepLR failed after step 0"),
        ("torch:CyclicLR:base_lr=-inf,max_lr=1", UsageError, "CyclicLR gives a rate of nan at step 0"),
        ("torch:ExponentialLR:gamma=1e200", UsageError, "ExponentialLR gives a rate of inf at step 2"),
        ("torch:OneCycleLR:max_lr=$peak,total_steps=10", UsageError, "OneCycleLR failed after step 10"),
        ("torch:LinearLR:start_factor=0", UsageError, "torch:LinearLR:start_factor=0: "),
        ("curves:hlaf", TargetError, "Did you mean 'half'?"),
        ("curves:number", UsageError, "must be a function, not 'int'"),
        ("curves:power:pwer=2", UsageError, "Did you mean 'power'?"),
        ("curves:nothing", WorkloadError, "curves:nothing(0, 20) must return a finite number >= 0, not None."),
        ("curves:rising", WorkloadError, "curves:rising(1, 20) must return a finite number >= 0, not -1."),
        ("curves:no_scheduler", UsageError, "must return a torch scheduler"),
        ("curves:raises", ZeroDivisionError, "the user's own"),
    ],
)
def test_a_mistake_is_told_with_what_was_meant_and_a_users_exception_is_left_alone(text, error, told, folder):
    with pytest.raises(error) as caught:
        rates(text, two_groups(), app_dir=folder)
    assert told in str(caught.value)


@pytest.mark.parametrize("text", ["cosine:warmup=2", "torch:CosineAnnealingLR:T_max=$total"])
def test_a_session_trains_under_a_scheduler(text):
    session = make_session(linear_workload())
    with session.open():
        scheduler = make_scheduler(parse_schedule(text), session.optimizers, 0.05, TOTAL)
        losses = []
        for step in range(TOTAL):
            scheduler.before_step(step)
            losses.append(session.train_step().item())
    assert sum(losses[-4:]) < sum(losses[:4])  # each time over all batches


# What an attached scheduler tells of the length of training


def attached(make):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    return attached_total([optimizer]), make(optimizer), attached_total([optimizer])


def test_one_cycle_tells_its_steps():
    before, _, after = attached(lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=321))
    assert (before, after) == (None, ("OneCycleLR", 321))


def test_a_lambda_of_transformers_tells_its_steps():
    def warmed(step, *, num_warmup_steps, num_training_steps):
        return 1.0

    lambdas = functools.partial(warmed, num_warmup_steps=5, num_training_steps=777)
    *_, after = attached(lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambdas))
    assert after == ("LambdaLR", 777)


def test_a_scheduler_that_may_count_epochs_tells_nothing():
    *_, after = attached(lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=50))
    assert after is None
