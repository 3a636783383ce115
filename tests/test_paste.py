"""Lines to paste do what lrscout has measured."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lrscout.report.paste import rate_lines, scheduler_lines, with_lines
from lrscout.report.paste_optimizers import model_of, optimizer_lines
from lrscout.report.terminal import Style
from lrscout.results import LrResult, RunRecord, Suggestion
from lrscout.schedules import SCHEDULES, parse_schedule

LABELS = [
    *(name for name in SCHEDULES if name != "plateau"),
    *(f"{name}:warmup=0.05" for name in SCHEDULES if name != "plateau"),
    "linear:warmup=7,min_ratio=0.1",
    "cosine:warmup=0.1,min_ratio=0.05",
    "polynomial:power=3,min_ratio=0.2",
    "wsd:decay=30,shape=linear,min_ratio=0.1",
    "wsd:warmup=0.05,decay=0.5",
    "multistep:milestones=[0.3,60],gamma=0.5",
    "one-cycle:pct_start=0.2,anneal=linear,three_phase=true,cycle_momentum=false",
    "torch:CosineAnnealingLR:T_max=$total",
]


def made(label: str, total: int) -> tuple[torch.optim.Optimizer, object]:
    """The optimizer and the scheduler that the lines make."""
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))]
    optimizer = torch.optim.SGD([{"params": weights[:1], "lr": 0.2}, {"params": weights[1:], "lr": 0.1}], momentum=0.9)
    names = {"torch": torch, "math": math, "optimizer": optimizer, "total_steps": total}
    exec("\n".join(scheduler_lines(label)), names)
    return optimizer, names.get("scheduler")


@pytest.mark.parametrize("total", [40, 157])
@pytest.mark.parametrize("label", LABELS)
@pytest.mark.filterwarnings("ignore")  # SequentialLR calls what torch warns of
def test_the_scheduler_to_paste_has_the_rates_of_the_schedule(label, total):
    optimizer, scheduler = made(label, total)
    spec = parse_schedule(label)
    for step in range(total):
        wanted = spec(step, total) if spec.is_builtin else 0.5 + 0.5 * math.cos(math.pi * step / total)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.2 * wanted, 0.1 * wanted], rel=1e-6, abs=1e-12), step
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


@pytest.mark.parametrize("label", ["constant", "wsd:warmup=0.05", "one-cycle:warmup=0.1", "torch:StepLR:step_size=3"])
def test_averaged_weights_are_pasted_as_torchs_averaged_model(label):
    lines = scheduler_lines(f"{label}+swa:start=0.6")
    own, averaging = lines[: len(scheduler_lines(label))], lines[len(scheduler_lines(label)) :]
    assert own == scheduler_lines(label)
    names = {"model": nn.Linear(2, 1), "total_steps": 157}
    exec("\n".join(averaging), names)
    assert isinstance(names["averaged"], torch.optim.swa_utils.AveragedModel)
    assert names["swa_start"] == parse_schedule(f"{label}+swa:start=0.6").averaging.first_step(157)
    assert averaging[-2].endswith("averaged.update_parameters(model)")
    assert averaging[-1].endswith("update_bn(train_loader, averaged)")
    assert max(map(len, averaging)) < 80


@pytest.mark.filterwarnings("ignore")
def test_the_plateau_to_paste_falls_as_the_schedule_does():
    optimizer, scheduler = made("plateau:patience=2,factor=0.5", 100)
    metrics = [1.0, 0.9, 0.9, 0.9, 0.9, 0.8, 0.9, 0.9, 0.9, 0.9]
    for done in range(1, len(metrics) + 1):
        optimizer.step()
        scheduler.step(metrics[done - 1])
        wanted = parse_schedule("plateau:patience=2,factor=0.5")(50, 100, metrics[:done])
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2 * wanted)


def test_an_optimizer_of_the_targets_keeps_its_arguments():
    environment = {"optimizer": "AdamW (the target's own)", "optimizer_arguments": {"betas": [0.9, 0.95]}}
    (line,) = optimizer_lines(environment, [0.0126])
    assert line == "optimizer = torch.optim.AdamW(model.parameters(), lr=1.3e-2, betas=(0.9, 0.95))"
    names = {"torch": torch, "model": nn.Linear(2, 1)}
    exec(line, names)
    assert names["optimizer"].defaults["betas"] == (0.9, 0.95)


def test_groups_get_their_rates_by_name():
    environment = {"groups": [{"name": "body"}, {"name": "head"}]}
    lines = optimizer_lines(environment, [1e-4, 1e-3])
    assert lines[0].endswith("# body, head")
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.Adam([{"params": [a]}, {"params": [b]}])
    exec("\n".join(lines), {"optimizer": optimizer})
    assert [group["lr"] for group in optimizer.param_groups] == [1e-4, 1e-3]


def test_groups_of_one_rate_are_one_line():
    (line,) = optimizer_lines({"optimizer": "AdamW", "optimizer_arguments": {}}, [2e-3, 2e-3])
    assert line == "optimizer = torch.optim.AdamW(groups, lr=2.0e-3)"


def test_frameworks_take_the_rate_in_their_own_form():
    assert optimizer_lines({"framework": "transformers"}, [2e-5, 2e-5]) == [
        "learning_rate=2.0e-5,  # in TrainingArguments"
    ]
    (line,) = optimizer_lines({"framework": "lightning", "optimizer": "Adam (the program's own)"}, [1e-3])
    assert line == "optimizer = torch.optim.Adam(self.parameters(), lr=1.0e-3)  # and its other arguments"


def test_a_framework_whose_groups_have_rates_of_their_own_gets_them_all():
    first, _ = optimizer_lines({"framework": "transformers"}, [2e-5, 1e-3])
    assert first == "for group, lr in zip(optimizer.param_groups, [2.0e-5, 1.0e-3], strict=True):"


def test_the_lines_of_a_schedule_call_a_lightning_module_self():
    lines = "\n".join(scheduler_lines("cosine+swa", model=model_of({"framework": "lightning"})))
    assert "AveragedModel(self)" in lines
    assert "update_parameters(self)" in lines
    assert "model)" not in lines


def test_each_of_several_optimizers_has_a_line_or_three_where_one_is_too_long():
    optimizers = [
        {"name": "g", "class": "Adam", "groups": 1, "arguments": {}},
        {"name": None, "class": "Muon", "groups": 2, "arguments": None},
        {"name": 'a"b', "class": "SGD", "groups": 2, "arguments": {}},
        {"name": "discriminator", "class": "Adam", "groups": 1, "arguments": {"betas": [0.5, 0.999]}},
        {"name": "bad", "class": "os.system('x')", "groups": 1, "arguments": {}},
    ]
    assert optimizer_lines({"optimizers": optimizers}, [1e-4, 1e-3, 1e-3, 1e-2, 1e-1, 2e-4, 1.0]) == [
        'optimizers["g"] = torch.optim.Adam(g.parameters(), lr=1.0e-4)',
        "optimizers[1] = torch.optim.Muon(groups, lr=1.0e-3)  # and its other arguments",
        'for group, lr in zip(optimizers["a\\"b"].param_groups, [1.0e-2, 1.0e-1], strict=True):',
        '    group["lr"] = group["initial_lr"] = lr',
        'optimizers["discriminator"] = torch.optim.Adam(',
        "    discriminator.parameters(), lr=2.0e-4, betas=(0.5, 0.999)",
        ")",
    ]


@pytest.mark.parametrize(("width", "shown"), [(59, False), (60, True), (80, True), (120, True)])
def test_long_lines_to_paste_are_left_out_of_very_narrow_windows_alone(width, shown):
    line = "scheduler = LambdaLR(optimizer, lambda step: " + "step * " * 12 + "1.0)"
    text = with_lines("The answer", [line], Style(width, False, True, False))
    assert text.splitlines() == (["The answer", "", line] if shown else ["The answer"])


def test_a_program_is_run_with_the_rate_unless_it_is_one_of_lrscouts_own_which_has_no_end():
    def lines(*command):
        suggestion = Suggestion(2e-3, "scout", "it fell", use="decay")
        result = LrResult(suggestion, {}, (), "completed", 1, 1.0)
        return rate_lines(RunRecord("find-lr", "ok", {"command": command}, {}, {"optimizer": "Adam"}, result))

    made = "optimizer = torch.optim.Adam(model.parameters(), lr=2.0e-3)  # and its other arguments"
    assert lines("python", "train.py") == [
        made,
        "lrscout run --lr 2.0e-3 --steps N -- python train.py  # without an edit",
    ]
    assert lines("torchrun", "-m", "lrscout.ranks", "mymod:build") == [made]
