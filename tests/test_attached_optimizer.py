"""The rate that a program calls its own is the peak of its schedule, wherever its groups begin."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, SequentialLR

from lrscout.attached.optimizer import Driven, MadeWith
from lrscout.attached.patches import Patches


@pytest.fixture(autouse=True)
def made_with() -> Iterator[MadeWith]:
    patches = Patches()
    yield MadeWith(patches)
    patches.undo()


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.ones(1))


def optimizer_with(*rates: object, cls: type = torch.optim.SGD, **more: object) -> torch.optim.Optimizer:
    return cls([{"params": [parameter()], "lr": rate, **more} for rate in rates], lr=0.5)


def own_rates(optimizer: torch.optim.Optimizer, made_with: MadeWith) -> list[float]:
    return [group["lr"] for group in Driven(optimizer, made_with).facts()["groups"]]


def set_rates(optimizer: torch.optim.Optimizer, *rates: float) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def test_a_warm_up_by_hand_does_not_hide_the_rate_that_groups_were_made_with(made_with):
    optimizer = optimizer_with(6e-4, 6e-5)
    set_rates(optimizer, 3e-7, 3e-8)
    assert own_rates(optimizer, made_with) == [6e-4, 6e-5]


def test_ratios_are_those_of_the_peaks_where_a_warm_up_begins_at_the_same_rate_or_at_zero(made_with):
    for first in (0.0, 1e-6):
        optimizer = optimizer_with(1e-2, 1e-3)
        set_rates(optimizer, first, first)
        driven = Driven(optimizer, made_with)
        driven.set_lr(1.0)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1.0, 0.1])


def test_a_rate_that_is_set_above_the_one_it_was_made_with_is_the_programs_own(made_with):
    for made in (0.0, 1e-3):  # a stand-in: the program has a schedule of its own
        optimizer = optimizer_with(made, made)
        set_rates(optimizer, 2e-2, 1e-4)
        assert own_rates(optimizer, made_with) == [2e-2, 1e-4]


SCHEDULERS = {
    "LambdaLR": lambda o: LambdaLR(o, lambda step: min(step / 100, 1.0)),
    "cosine": lambda o: CosineAnnealingLR(o, 100),
    "sequence": lambda o: SequentialLR(o, [LambdaLR(o, lambda step: step / 10), CosineAnnealingLR(o, 90)], [10]),
}


@pytest.mark.parametrize("schedule", SCHEDULERS.values(), ids=SCHEDULERS)
def test_a_scheduler_scales_the_rate_that_a_group_had_when_it_was_attached(made_with, schedule):
    optimizer = optimizer_with(0.5, 0.5)
    set_rates(optimizer, 0.2, 0.1)  # by the number of ranks, say
    schedule(optimizer)
    assert own_rates(optimizer, made_with) == [0.2, 0.1]


def test_the_rate_of_one_cycle_is_its_maximum(made_with):
    optimizer = optimizer_with(1e-3, 1e-3)
    OneCycleLR(optimizer, max_lr=[0.1, 0.02], total_steps=100)
    assert own_rates(optimizer, made_with) == [0.1, 0.02]


def test_a_group_that_is_added_later_has_the_rate_it_is_added_with(made_with):
    optimizer = optimizer_with(1e-2)
    OneCycleLR(optimizer, max_lr=0.1, total_steps=100)
    driven = Driven(optimizer, made_with)
    optimizer.add_param_group({"params": [parameter()], "lr": 0.01})
    optimizer.param_groups[1]["lr"] = 1e-6
    driven.set_lr(1.0)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1.0, 0.1])


def test_rates_that_are_tensors_are_read_when_the_group_is_made(made_with):
    optimizer = optimizer_with(torch.tensor(0.25), torch.tensor(0.125))
    for group in optimizer.param_groups:
        group["lr"].fill_(1e-6)
    driven = Driven(optimizer, made_with)
    assert [group["lr"] for group in driven.facts()["groups"]] == [0.25, 0.125]
    driven.set_lr(1.0)
    assert [group["lr"] for group in optimizer.param_groups] == [torch.tensor(1.0), torch.tensor(0.5)]


def test_a_group_whose_rate_is_zero_stays_there(made_with):
    assert own_rates(optimizer_with(1e-2, 0.0), made_with) == [1e-2, 0.0]


@pytest.mark.parametrize("made", [1e-3, 5e-4])
def test_layers_that_a_program_scales_at_every_step_keep_their_shares(made_with, made):
    for present in ((0.0, 0.0), (1e-6, 1e-7)):
        optimizer = optimizer_with(made, made)
        for group, rate, scale in zip(optimizer.param_groups, present, (1.0, 0.1), strict=True):
            group.update(lr=rate, lr_scale=scale)
        assert own_rates(optimizer, made_with) == pytest.approx([made, 0.1 * made])


@pytest.mark.parametrize(("made", "present"), [((1e-3, 1e-4), (1e-6, 1e-7)), ((1e-3, 1e-3), (1e-6, 1e-6))])
def test_scales_that_are_in_the_rates_or_are_not_used_are_not_applied(made_with, made, present):
    optimizer = optimizer_with(*made)
    for group, rate, scale in zip(optimizer.param_groups, present, (1.0, 0.1), strict=True):
        group.update(lr=rate, lr_scale=scale)
    assert own_rates(optimizer, made_with) == list(made)


class AddsByItself(torch.optim.SGD):
    def add_param_group(self, param_group):
        self.param_groups.append({**self.defaults, **param_group, "params": list(param_group["params"])})


class Unhashable(torch.optim.SGD):
    __hash__ = None

    def __eq__(self, other):
        return False


@pytest.mark.parametrize("cls", [AddsByItself, Unhashable])
def test_an_optimizer_whose_making_was_not_seen_has_its_present_rates(made_with, cls):
    optimizer = optimizer_with(1e-2, 1e-3, cls=cls)
    set_rates(optimizer, 1e-4, 1e-5)
    assert own_rates(optimizer, made_with) == [1e-4, 1e-5]


def test_an_optimizer_from_before_has_its_present_rates():
    optimizer = optimizer_with(1e-2)
    assert own_rates(optimizer, MadeWith(Patches())) == [1e-2]


def test_groups_and_their_optimizers_are_left_as_they_are(made_with):
    optimizer = optimizer_with(1e-2, 1e-3)
    keys = set(torch.optim.SGD([parameter()], lr=0.1).param_groups[0])
    assert all(set(group) == keys for group in optimizer.param_groups)
    assert own_rates(copy.deepcopy(optimizer), made_with) == [1e-2, 1e-3]
    alive = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert alive() is None


def test_a_checkpoint_that_is_loaded_does_not_change_what_groups_were_made_with(made_with):
    optimizer = optimizer_with(1e-2)
    state = optimizer.state_dict()
    state["param_groups"][0]["lr"] = 1e-5
    optimizer.load_state_dict(state)
    assert own_rates(optimizer, made_with) == [1e-2]


def test_groups_that_were_replaced_count_as_new(made_with):
    optimizer = optimizer_with(1e-2, 1e-3)
    optimizer.param_groups.pop(0)
    optimizer.add_param_group({"params": [parameter()], "lr": 3e-2})
    assert own_rates(optimizer, made_with)[1] == 3e-2
