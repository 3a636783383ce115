"""An answer as lines to paste into a training script: the optimizer with its rate, and the scheduler."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import RenderableType

from lrscout.errors import UsageError
from lrscout.formatting import format_lr
from lrscout.report.paste_optimizers import arguments_of, lines_of_each, literal, model_of, optimizer_lines
from lrscout.report.tables import rendered
from lrscout.report.terminal import Style
from lrscout.results import CompareRecord, LrRecord, LrResult, RunRecord
from lrscout.schedules import TORCH, ScheduleSpec, parse_schedule

NARROW = 60  # columns; with fewer, lines that do not fit are left out
SCHEDULER = "torch.optim.lr_scheduler"
HUGGING_FACE = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}
"""The schedules that Trainer has, whose warmup begins at 0: ours, one step later."""


def with_lines(found: RenderableType, lines: Sequence[str], style: Style) -> str:
    """An answer, and below it lines to paste, which are never folded: a terminal copies a long one as a whole.

    In a very narrow window they would fill it.
    """
    fits = lines and (style.width >= NARROW or max(map(len, lines)) <= style.width)
    return "\n\n".join([rendered(found, style), *(["\n".join(lines)] if fits else [])])


def rate_lines(record: LrRecord) -> list[str]:
    """The rate that find-lr suggests, as the target takes it; empty where there is none."""
    result = record.result
    if record.status != "ok" or result is None:
        return []
    if result.others:
        return lines_of_each(record.environment, [_rates_of(each) for each in result.of_each])
    if result.suggestion.lr is None:
        return []
    rates = _rates_of(result)
    run = _run_lines(record, result.suggestion.lr, "constant" if result.suggestion.use == "constant" else None)
    return [*optimizer_lines(record.environment, rates), *run]


def _rates_of(result: LrResult) -> Sequence[float]:
    """One for each parameter group; none where no rate is suggested."""
    found = result.suggestion
    return found.groups or (() if found.lr is None else (found.lr,))


def schedule_lines(record: CompareRecord) -> list[str]:
    """The best schedule of a comparison at its rate, as the target takes them; empty where none finished."""
    result = record.result
    if record.status != "ok" or result is None or not result.ranking or result.ranking[0].final is None:
        return []
    best, environment = result.ranking[0], record.environment
    own = [float(group["lr"]) for group in environment.get("groups") or ()]
    largest = max(own, default=0.0)
    rates = [best.peak_lr * lr / largest for lr in own] if largest > 0 else [best.peak_lr]
    schedule = _scheduler_of(environment, best.label)
    several = ["# and for each optimizer:"] if schedule and len(environment.get("optimizers") or ()) > 1 else []
    lines = [*optimizer_lines(environment, rates), *several, *schedule]
    return [*lines, *_run_lines(record, best.peak_lr, best.label)]


def _run_lines(record: RunRecord[Any], lr: float, label: str | None) -> list[str]:
    """How to train a training command with a rate and a schedule, without an edit to it."""
    command = record.target.get("command")
    if not command or "lrscout.ranks" in command:  # which trains for a search, without an end of its own
        return []
    schedule = "" if label is None else f" -s {shlex.quote(label)}"
    return [f"lrscout run --lr {format_lr(lr)}{schedule} --steps N -- {shlex.join(command)}  # without an edit"]


def _scheduler_of(environment: Mapping[str, Any], label: str) -> list[str]:
    try:
        parse_schedule(label)
    except UsageError:  # a record of another version's, or one that was changed
        return []
    if environment.get("framework") == "transformers":
        spec = parse_schedule(label)
        named = HUGGING_FACE.get(spec.name)
        if named is not None and not spec.params.get("min_ratio"):
            line = f"{_training_arguments(spec, named)},  # in {arguments_of(environment)}"
            return [line + _older(spec), *_averaging_lines(spec, "total_steps", "model")]
    return scheduler_lines(label, model=model_of(environment))


def _training_arguments(spec: ScheduleSpec, name: str) -> str:
    """A schedule as arguments of transformers."""
    if not spec.warmup:
        return f'lr_scheduler_type="{spec.name}"'
    return f'lr_scheduler_type="{name}", warmup_steps={spec.warmup:g}'


def _older(spec: ScheduleSpec) -> str:
    """What older versions call a warmup that is a share of the training."""
    return f"; before transformers 5: warmup_ratio={spec.warmup:g}" if 0 < spec.warmup < 1 else ""


def scheduler_lines(label: str, steps: str = "total_steps", model: str = "model") -> list[str]:
    """A schedule as torch's scheduler, to be stepped after every optimizer step; `steps` is the length of the training.

    The rates are those of the schedule at every step. What torch has no form for is called from lrscout; `plateau` is
    stepped with the evaluations it depends on.
    """
    spec = parse_schedule(label)
    return [*_rates_lines(spec, steps), *_averaging_lines(spec, steps, model)]


def _averaging_lines(spec: ScheduleSpec, steps: str, model: str) -> list[str]:
    """The weights averaged by torch, beside the training."""
    if spec.averaging is None:
        return []
    return [
        "from torch.optim.swa_utils import AveragedModel, update_bn",
        f"averaged = AveragedModel({model})",
        f"swa_start = {_steps(spec.averaging.start, steps)}  # counted from 0",
        f"# after every optimizer step from there on: averaged.update_parameters({model})",
        "# and in the end, for batch norms: update_bn(train_loader, averaged)",
    ]


def _rates_lines(spec: ScheduleSpec, steps: str) -> list[str]:
    if spec.is_builtin:
        return _importing(_builtin_lines(spec, steps))
    if not spec.name.startswith(TORCH) or spec.warmup:
        return [f"# and the schedule {spec.rates}, as you have it"]
    given = "".join(f", {key}={_argument(value, steps)}" for key, value in spec.params.items())
    return _importing([f"scheduler = {SCHEDULER}.{spec.name.removeprefix(TORCH)}(optimizer{given})"])


def _importing(lines: list[str]) -> list[str]:
    """The lines with what they call imported above them, which keeps them short."""
    names = sorted({name for line in lines for name in re.findall(rf"{SCHEDULER}\.(\w+)", line)})
    imports = [f"from {SCHEDULER} import {', '.join(names)}"] if names else []
    maths = ["import math"] if any("math." in line for line in lines) else []
    return [*maths, *imports, *(line.replace(f"{SCHEDULER}.", "") for line in lines)]


def _builtin_lines(spec: ScheduleSpec, steps: str) -> list[str]:
    if spec.name == "constant" and not spec.warmup:
        return []
    form = FORMS.get(spec.name)
    warms_up = bool(spec.warmup) and not spec.has_own_warmup
    if form is None or (warms_up and spec.name == "one-cycle"):  # whose rate begins below the peak
        return [
            "from lrscout.schedules import parse_schedule",
            f"schedule = parse_schedule({json.dumps(spec.rates)})",
            f"scheduler = {_lambda(f'schedule(step, {steps})')}",
        ]
    lines = [f"warmup = {_steps(spec.warmup, steps)}"] if spec.warmup else []
    body = form(spec.params, f"({steps} - warmup)" if warms_up else steps)
    if not warms_up:
        return [*lines, f"scheduler = {body}"]
    rise = f"{SCHEDULER}.LinearLR(optimizer, 1 / (warmup + 1), 1.0, warmup)"
    if spec.name == "constant":
        return [*lines, f"scheduler = {rise}"]
    return [
        *lines,
        f"rise = {rise}",
        f"fall = {body}",
        f"scheduler = {SCHEDULER}.SequentialLR(optimizer, [rise, fall], [warmup])",
    ]


Params = Mapping[str, Any]
Form = Callable[[Params, str], str]


def _torch(name: str, *arguments: object, **keywords: object) -> str:
    """A call of one of torch's schedulers."""
    bare = [re.sub(r"^\(([^()]*)\)$", r"\1", str(each)) for each in arguments]  # an argument needs no parentheses
    given = [*bare, *(f"{key}={value}" for key, value in keywords.items())]
    return f"{SCHEDULER}.{name}({', '.join(['optimizer', *given])})"


def _lambda(multiplier: str) -> str:
    return _torch("LambdaLR", f"lambda step: {multiplier}")


def _down_to(params: Params, height: str) -> str:
    floor = params["min_ratio"]
    return height if not floor else f"{floor} + {1 - floor:.12g} * ({height})"


def _cosine(p: Params, n: str) -> str:
    if not p["min_ratio"]:
        return _torch("CosineAnnealingLR", n)
    return _lambda(_down_to(p, f"0.5 + 0.5 * math.cos(math.pi * step / {n})"))


def _polynomial(p: Params, n: str) -> str:
    if not p["min_ratio"]:
        return _torch("PolynomialLR", n, p["power"])
    return _lambda(_down_to(p, f"(1 - step / {n}) ** {p['power']}"))


def _one_cycle(p: Params, n: str) -> str:
    peaks = '[group["lr"] for group in optimizer.param_groups]'
    given = {theirs: p[ours] for ours, (theirs, default) in ONE_CYCLE.items() if p[ours] != default}
    return _torch("OneCycleLR", peaks, n, **{key: repr(value) for key, value in given.items()})


ONE_CYCLE = {
    "pct_start": ("pct_start", 0.3),
    "anneal": ("anneal_strategy", "cos"),
    "cycle_momentum": ("cycle_momentum", True),
    "low_momentum": ("base_momentum", 0.85),
    "high_momentum": ("max_momentum", 0.95),
    "div": ("div_factor", 25.0),
    "final_div": ("final_div_factor", 1e4),
    "three_phase": ("three_phase", False),
}
"""torch's name of each parameter, and its default, which need not be written."""


def _wsd(p: Params, n: str) -> str:
    length = _steps(p["decay"], n)
    share = f"max(0, step - {n} + {length}) / max(1, {length})"
    return _lambda(_down_to(p, f"1 - ({share})" + (" ** 0.5" if p["shape"] == "1-sqrt" else "")))


FORMS: dict[str, Form] = {
    "constant": lambda p, n: "",
    "linear": lambda p, n: _torch("LinearLR", 1.0, p["min_ratio"], n),
    "cosine": _cosine,
    "polynomial": _polynomial,
    "step": lambda p, n: _torch("StepLR", f"max(1, {_steps(p['size'], n)})", p["gamma"]),
    "multistep": lambda p, n: _torch(
        "MultiStepLR", f"[{', '.join(f'max(1, {_steps(each, n)})' for each in p['milestones'])}]", p["gamma"]
    ),
    "exponential": lambda p, n: _torch("ExponentialLR", f"{p['end_ratio']} ** (1 / {n})"),
    "one-cycle": _one_cycle,
    "wsd": _wsd,
    "inverse-sqrt": lambda p, n: _lambda("min((step + 1) / (warmup + 1), ((warmup + 1) / (step + 1)) ** 0.5)"),
    "rex": lambda p, n: _lambda(_down_to(p, f"(1 - step / {n}) / (1 - step / {n} / 2)")),
    "plateau": lambda p, n: _torch(
        "ReduceLROnPlateau",
        factor=p["factor"],
        patience=p["patience"],
        threshold=p["threshold"],
        cooldown=p["cooldown"],
        min_lr=f'[{p["min_ratio"]} * group["lr"] for group in optimizer.param_groups]',
        eps=0,
    ),
}
"""torch's form of each schedule that has one, for a training of so many steps."""


def _steps(length: float, steps: str) -> str:
    """A length in steps, rounded as everywhere in lrscout."""
    return f"{int(length + 0.5)}" if length >= 1 else f"int({length} * {steps} + 0.5)"


def _argument(value: Any, steps: str) -> str:
    return steps if value == "$total" else literal(value)
