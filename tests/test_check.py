"""check: a sound target passes all checks, and each fault is found by the check that is for it."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import time
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import broken_targets as broken
import pytest
import torch
from small_workloads import digest, linear_workload, random_digest
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

import lrscout
from lrscout.cli import main
from lrscout.engine.checking import precisions
from lrscout.engine.checking.fields import fields_of_batch
from lrscout.engine.checking.subject import Subject
from lrscout.engine.host import Host
from lrscout.errors import TargetError, UsageError
from lrscout.records import from_json
from lrscout.results import BatchField, Check, Target
from lrscout.runs.check.observer import CheckObserver
from lrscout.runs.check.search import CHECKS, check_target
from lrscout.settings import CheckSettings

FILE = str(Path(broken.__file__))


def settings(*only: str, **more: Any) -> CheckSettings:
    skipped = tuple(name for name in CHECKS if name not in only) if only else ()
    return CheckSettings(**{"device": "cpu", "skip": skipped, **more})


def seeded(build: Callable[[], Any]) -> Callable[[int], Any]:
    def with_seed(seed: int) -> Any:
        torch.manual_seed(seed)
        return build()

    return with_seed


def found(name: str, build: Callable[[], Any], **more: Any) -> Check:
    """What one check says of a target, which it may build as often as it likes."""
    record = check_target(seeded(build), settings(name, **more), Target(None))
    return next(check for check in record.result.checks if check.name == name)


# Each check, with a target that is sound and with one that is not


@pytest.mark.parametrize("name", CHECKS)
def test_a_sound_target_passes(name):
    check = found(name, broken.preloaded if name == "loader" else broken.sound)
    assert (check.status, check.advice) == ("ok", None), check


FAULTS = [
    ("batch", broken.missing_values, "warn", "nan in 0"),
    ("batch", broken.no_batches, "fail", "is empty"),
    ("parameters", broken.frozen_layer, "warn", "2 frozen parameters in the optimizer: 0.weight, 0.bias"),
    ("parameters", broken.forgotten_head, "fail", "2 parameters that no optimizer has"),
    ("parameters", broken.other_model, "fail", "4 parameters of the optimizer that the model does not have"),
    ("initial-loss", broken.softmax, "fail", "the input of cross_entropy is probabilities already"),
    ("initial-loss", broken.scores_as_logarithms, "fail", "the input of nll_loss is not log-probabilities"),
    ("initial-loss", broken.sigmoid, "warn", "lie from 0 to 1, as after a sigmoid"),
    ("initial-loss", broken.overconfident, "warn", "a uniform guess over 3 classes has 1.099"),
    ("initial-loss", broken.infinite, "fail", "the first loss is inf"),
    ("gradients", broken.dead_branch, "warn", "no gradient reaches 2 parameters of 6: aside.weight, aside.bias"),
    ("gradients", broken.zero_branch, "warn", "the gradient is 0 at all of 4 steps for 2 parameters of 6: aside"),
    ("gradients", broken.root_of_zero, "fail", "nan or inf in the gradients of 4 parameters: net.0.weight"),
    ("gradients", broken.other_model, "fail", "No parameter of the optimizer receives a gradient"),
    ("overfit", broken.rounded, "fail", "on one batch"),
    ("overfit", broken.noisy_labels, "warn", "the best of 4 rates"),
    ("eval-mode", broken.two_models, "warn", "in evaluation mode, from"),
    ("eval-mode", broken.lagging_norm, "warn", "in evaluation mode, from"),
    ("eval-mode", broken.norm_of_few, "warn", "1 batch norm with batches of 4 samples"),
    ("eval-mode", broken.raises_in_evaluation, "fail", "no evaluation here"),
    ("labels", broken.shuffled_labels, "warn", "where every sample has the label of another one"),
    ("loader", broken.slow_loader, "warn", "the loader holds the training up"),
    ("precision", broken.overflowing, "warn", "nan at"),
    ("precision", broken.rounding_off, "warn", "in bf16: another loss than in fp32"),
    ("determinism", broken.unseeded_weights, "warn", "other weights: 0.weight;"),
    ("determinism", broken.unseeded_data, "warn", "other data, from batch 1 on"),
    ("determinism", broken.unseeded_step, "warn", "other losses from step 1 on"),
]


@pytest.mark.parametrize(("name", "build", "status", "words"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_fault_is_found_by_its_check(name, build, status, words):
    check = found(name, build)
    assert check.status == status, check
    assert words in f"{check.detail};", check
    assert check.advice, check


APPLIES = [
    ("initial-loss", broken.regression, "skip", "no cross entropy"),
    (
        "labels",
        lambda: linear_workload(train_loader=[torch.ones(4, 3)], step=lambda x: x.sum()),
        "skip",
        "(inputs, labels)",
    ),
    (
        "labels",
        lambda: dataclasses.replace(broken.sound(), train_loader=list(broken.OwnBatches())[:3]),
        "skip",
        "3 batches",
    ),
    ("gradients", broken.lora, "ok", "6 parameters"),
    ("eval-mode", broken.normalized, "ok", "on the batch that was learned"),
    ("eval-mode", broken.with_dropout, "ok", "on the batch that was learned"),
    ("overfit", broken.low_rate, "ok", "rates"),
]


@pytest.mark.parametrize(
    ("name", "build", "status", "words"), APPLIES, ids=lambda value: getattr(value, "__name__", "")
)
def test_what_is_no_fault_is_not_taken_for_one(name, build, status, words):
    check = found(name, build)
    assert (check.status, words in check.detail) == (status, True), check


@pytest.mark.parametrize(
    ("loss_fn", "targets", "classes"),
    [
        (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.1])), torch.tensor([0, 1, 2, 1] * 8), "3 classes"),
        (nn.CrossEntropyLoss(label_smoothing=0.2), torch.tensor([0, 1, 2, 1] * 8), "3 classes"),
        (nn.CrossEntropyLoss(reduction="sum"), torch.tensor([0, 1, 2, 1] * 8), "3 classes"),
        (nn.CrossEntropyLoss(ignore_index=1), torch.tensor([0, 1, 2, 1] * 8), "3 classes"),
        (lambda x, y: nn.functional.nll_loss(x.log_softmax(1), y) + 0.1, torch.tensor([0, 1, 2, 1] * 8), "3 classes"),
        (nn.BCEWithLogitsLoss(), torch.rand(32, 3), "a uniform guess of 0.5"),
    ],
)
def test_the_uniform_guess_is_scored_by_the_targets_own_cross_entropy(loss_fn, targets, classes):
    model = nn.Linear(2, 3)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    batch = (torch.randn(32, 2), targets)
    check = found("initial-loss", lambda: broken.parts(model, train_loader=[batch], loss_fn=loss_fn))
    seen, uniform = check.detail.split(",")[0], check.detail.split()[-1]
    assert (check.status, seen) == ("ok", uniform), check
    assert classes in check.detail


def test_a_sum_over_predictions_is_told_as_their_mean():
    """A transformers.Trainer sums the losses of all labels, and divides by their number afterwards."""
    labels = torch.tensor([0, 1, -100, 1] * 8)

    def loss_fn(scores, targets):
        return nn.functional.cross_entropy(scores, targets, reduction="sum") / 24

    batch = (torch.randn(32, 8), labels)
    check = found("initial-loss", lambda: broken.parts(broken.net(), train_loader=[batch], loss_fn=loss_fn))
    first = found("overfit", lambda: broken.parts(broken.net(), train_loader=[batch], loss_fn=loss_fn))
    assert check.detail.split(",")[0] == first.detail.split()[0], (check, first)
    assert check.detail.endswith("a uniform guess over 3 classes has 1.099")


def test_a_cross_entropy_inside_the_model_is_seen():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = broken.net()

        def forward(self, inputs, labels):
            return {"loss": nn.functional.cross_entropy(self.net(inputs).softmax(1), labels)}

    check = found("initial-loss", lambda: broken.parts(Own(), loss_fn=None))
    assert (check.status, "probabilities" in check.detail) == ("fail", True)


def test_every_expert_is_reached_by_one_of_the_batches():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts, self.calls = nn.ModuleList([broken.net(), broken.net()]), 0

        def forward(self, inputs):
            self.calls += 1
            return self.experts[self.calls % 2](inputs)

    assert found("gradients", lambda: broken.parts(Experts())).status == "ok"


def test_a_second_optimizer_that_the_step_uses_counts():
    def build():
        first, second = nn.Linear(8, 3), nn.Linear(8, 3)
        other = torch.optim.SGD(second.parameters(), lr=0.1)
        model = nn.ModuleList([first, second])

        def step(batch):
            assert other is not None
            return nn.functional.cross_entropy(first(batch[0]) + second(batch[0]).detach(), batch[1])

        return broken.parts(model, optimizer=torch.optim.SGD(first.parameters(), lr=0.1), loss_fn=None, step=step)

    check = found("parameters", build)
    assert check.status == "ok"
    assert "in 2 optimizers" in check.detail


def test_an_attached_scheduler_leaves_the_rate_that_was_configured():
    def build():
        workload = broken.parts(lr=1.0)
        OneCycleLR(workload.optimizer, max_lr=1e-2, total_steps=100)  # begins at a 25th
        return workload

    assert "(lr 1.0e-2)" in found("overfit", build).detail


@pytest.mark.parametrize("more", [{"accumulate": 3}, {"precision": "bf16"}, {"precision": "fp16"}, {"clip_norm": 0.01}])
def test_the_settings_of_a_step_do_not_make_a_sound_target_fail(more):
    made = settings(skip=("loader",), **more)  # which is another thing
    record = check_target(seeded(broken.sound), made, Target(None))
    assert [check.name for check in record.result.checks if check.status != "ok"] == ["loader"], record.result.checks


def test_gradients_are_told_before_the_clipping_of_a_trainer():
    clipping = Host()
    clipping.settings = {"clip_norm": 0.01}

    def build():
        return dataclasses.replace(broken.sound(), host=clipping)

    assert found("gradients", build).detail == found("gradients", broken.sound).detail


def test_a_target_that_trains_by_itself_is_checked_without_clipping():
    def build():
        made = broken.sound()

        def step(batch):
            loss = made.loss_fn(made.model(batch[0]), batch[1])
            made.optimizer.zero_grad()
            loss.backward()
            made.optimizer.step()
            return loss

        return dataclasses.replace(made, step=step, manual=True)

    assert found("gradients", build).status == "ok"


# The batch


def test_the_parts_of_a_batch_are_named_at_any_depth():
    pair = namedtuple("pair", ["ids", "mask"])
    batch = ({"text": ["a", "b"], "pixels": torch.zeros(2, 3, 4, 4)}, pair(torch.zeros(2, 5).long(), None), 7)
    assert fields_of_batch(batch) == (
        BatchField("0.text", None, "list of 2 str", None),
        BatchField("0.pixels", (2, 3, 4, 4), "float32", "cpu"),
        BatchField("1.ids", (2, 5), "int64", "cpu"),
        BatchField("1.mask", None, "NoneType", None),
        BatchField("2", None, "int", None),
    )


def test_a_batch_of_very_many_parts_is_cut():
    assert len(fields_of_batch({str(i): torch.zeros(1) for i in range(100)})) == 25
    assert fields_of_batch([torch.zeros(1)] * 100) == (BatchField("batch", None, "list of 100 Tensor", None),)
    looped: list[Any] = []
    looped.append([looped, torch.zeros(1)])
    assert fields_of_batch(looped)


@pytest.mark.parametrize(
    ("loader", "shape"),
    [
        (lambda: broken.sound().train_loader, (5, 8)),
        (lambda: list(broken.OwnBatches()), (5, 8)),  # cut
        (lambda: [([torch.zeros(3, 8)], torch.zeros(40).long())], (3, 8)),  # such as a graph: left whole
    ],
)
def test_the_small_batch_has_no_more_samples_than_it_may(loader, shape):
    subject = Subject(lambda seed: broken.parts(train_loader=loader()), settings(samples=5))
    inputs = subject.small_batch[0]
    assert tuple((inputs[0] if isinstance(inputs, list) else inputs).shape) == shape


def test_a_step_that_changes_its_batch_gets_the_same_one_again():
    def step(model, batch):
        inputs, labels = batch
        return nn.functional.cross_entropy(model(inputs.mul_(0.9)), labels)

    subject = Subject(lambda seed: broken.parts(loss_fn=None, step=step), settings())
    before = digest(subject.batches)
    with subject.session() as session:
        session.step(0.1)
    assert digest(subject.batches) == before


def test_a_loader_that_can_be_read_once_is_checked_as_far_as_it_goes():
    def build():
        return broken.parts(train_loader=iter(list(broken.OwnBatches())))

    record = check_target(seeded(build), settings(), Target(None))
    statuses = {check.name: check.status for check in record.result.checks}
    assert {name for name, status in statuses.items() if status != "ok"} == {"labels", "loader"}
    live = build()
    assert (
        lrscout.check(live, device="cpu", skip=[n for n in CHECKS if n != "determinism"])["determinism"].status
        == "skip"
    )


def test_a_step_that_trains_a_part_by_itself_is_checked():
    def build():
        own, other = broken.net(), broken.net()
        optimizer = torch.optim.SGD(other.parameters(), lr=0.1)

        def step(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(other(batch[0]), batch[1]).backward()
            optimizer.step()
            return nn.functional.cross_entropy(own(batch[0]), batch[1])

        model = nn.ModuleList([own, other])
        given = torch.optim.AdamW(own.parameters(), lr=3e-3)
        return broken.parts(model, optimizer=given, loss_fn=None, step=step)

    record = check_target(seeded(build), settings(skip=("loader",)), Target(None))
    skipped = {check.name: check.detail for check in record.result.checks if check.status == "skip"}
    assert not record.result.named("fail") + record.result.named("warn"), record.result.checks
    assert set(skipped) == {"loader", "labels", "eval-mode"}
    assert "cannot be evaluated" in skipped["eval-mode"]


def test_a_rate_that_is_far_too_high_is_what_overfit_names():
    check = found("overfit", lambda: broken.parts(lr=1e6))
    assert (check.status, "find-lr" in check.advice) == ("fail", True), check


def test_a_rate_that_is_far_too_low_goes_on_until_it_learns():
    """As the default of a transformers.Trainer is for a small model."""
    check = found("overfit", lambda: broken.parts(lr=1e-5))
    assert check.status == "ok", check
    assert int(check.detail.split("the best of ")[1].split()[0]) > 3, check


def test_a_rate_that_is_best_at_the_edge_of_what_was_tried_is_said_to_be():
    check = found("overfit", lambda: broken.parts(lr=1e-8), steps=20)
    assert check.status in ("warn", "fail")
    assert "the best and the highest of 6 rates" in check.detail, check
    assert "own 1.0e-8 may be far too low: see `lrscout find-lr`" in check.advice, check


def test_a_line_search_is_checked_in_the_precisions_that_it_can_be_used_in():
    def build():
        workload = broken.sound()
        optimizer = torch.optim.LBFGS(workload.model.parameters(), line_search_fn="strong_wolfe", max_iter=3)
        return dataclasses.replace(workload, optimizer=optimizer)

    check = found("precision", build)
    assert check.status == "ok", check
    assert "in fp32" in check.detail
    assert "in bf16" in check.detail
    assert "fp16 cannot be used (LBFGS" in check.detail


def test_a_precision_that_is_very_slow_on_a_cpu_is_given_up(monkeypatch):
    monkeypatch.setattr(precisions, "PATIENCE_SECONDS", -0.05)

    def build():
        model = broken.net()
        model.register_forward_pre_hook(lambda *given: time.sleep(0.1 if torch.is_autocast_enabled("cpu") else 0.0))
        return broken.parts(model)

    check = found("precision", build)
    assert check.status == "ok", check
    assert "in fp32" in check.detail
    assert "bf16 was given up after" in check.detail


def test_a_limit_of_time_holds_in_the_backward_pass_too():
    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(context, values):
            return values * 1

        @staticmethod
        def backward(context, gradient):
            time.sleep(0.1)
            return gradient

    weights = torch.ones(3, requires_grad=True)
    with pytest.raises(precisions.TooSlowError), precisions.at_most(0.09):
        (Slow.apply(weights * 2)).sum().backward()


@pytest.mark.parametrize("keeps", ["global", "closure", "dict", "object", "in place", "deque", "list"])
def test_a_state_between_batches_does_not_pass_from_one_check_to_the_next(keeps):
    made = settings("gradients", "precision", "determinism")
    checks = check_target(seeded(lambda: broken.recurrent(keeps)), made, Target(None)).result.checks
    told = {check.name: (check.status, check.detail) for check in checks}
    assert told["determinism"][0] == "ok", told
    assert told["precision"][0] == "ok", told
    assert broken.SHARED is None


@pytest.mark.parametrize("target", ["cached", "cached_by_closure", "resizing"])
def test_what_goes_with_a_kept_tensor_goes_back_with_it(target):
    made = settings("gradients", "precision", "determinism")
    checks = check_target(seeded(getattr(broken, target)), made, Target(None)).result.checks
    assert {check.name: check.status for check in checks if check.status != "skip"} == dict.fromkeys(
        ("gradients", "precision", "determinism"), "ok"
    )


def test_a_timeout_of_the_users_is_not_taken_for_the_limit():
    checks = check_target(seeded(broken.timing_out), settings("precision"), Target(None)).result.checks
    (told,) = [check.detail for check in checks if check.name == "precision"]
    assert "bf16 cannot be used (TimeoutError: the server did not answer)" in told


@pytest.mark.slow  # torch.compile
def test_a_compiled_target_is_checked_without_a_limit_that_would_keep_it_from_being_compiled():
    checks = check_target(seeded(broken.compiled), settings("precision", "determinism"), Target(None)).result.checks
    told = {check.name: (check.status, check.detail) for check in checks}
    assert told["determinism"][0] == "ok", told
    assert "cannot be used" not in told["precision"][1]


# The whole


def test_live_objects_and_random_states_are_put_back():
    workload, check = broken.normalized(), lrscout.check  # whose import draws random numbers: that of rich does
    before = digest(workload.model, workload.optimizer), random_digest()
    answer = check(workload, device="cpu")
    assert (digest(workload.model, workload.optimizer), random_digest()) == before
    assert answer.passed
    assert answer["gradients"].status == "ok"


def test_an_exception_in_the_loss_fails_the_check_and_leaves_out_the_others():
    told = []

    class Observer(CheckObserver):
        def raised(self, name, error):
            told.append((name, str(error)))

    record = check_target(lambda seed: broken.raises_in_the_loss(), settings(), Target(None), Observer())
    statuses = {check.name: check.status for check in record.result.checks}
    assert told == [("initial-loss", "the user's own mistake")]
    assert [name for name, status in statuses.items() if status != "skip"] == ["batch", "parameters", "initial-loss"]
    assert "initial-loss failed" in record.result.checks[-1].detail


def test_ctrl_c_keeps_the_checks_that_were_made():
    class Observer(CheckObserver):
        def doing(self, done, name, now):
            if name == "gradients" and now:
                raise KeyboardInterrupt

    record = check_target(lambda seed: broken.sound(), settings(), Target(None), Observer())
    assert record.status == "interrupted"
    assert [check.name for check in record.result.checks] == ["batch", "parameters", "initial-loss"]


def test_a_check_that_does_not_exist_cannot_be_skipped():
    with pytest.raises(UsageError, match="'gradient' to skip") as error:
        check_target(lambda seed: broken.sound(), settings(skip=("gradient",)), Target(None))
    assert error.value.hint == "Did you mean 'gradients'?"


# The command


@pytest.fixture
def check(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def command_line(name: str, *arguments: str) -> tuple[int, str, str]:
        code = main(["check", f"{FILE}:{name}", "--device", "cpu", *arguments])
        return (code, *capsys.readouterr())

    return command_line


ONLY_LOSS = [word for name in CHECKS if name != "initial-loss" for word in ("--skip", name)]


@pytest.mark.parametrize(
    ("name", "code", "word"), [("sound", 0, "ok"), ("overconfident", 0, "warn"), ("softmax", 5, "fail")]
)
def test_the_exit_code_is_5_only_where_a_check_fails(check, name, code, word):
    assert check(name, *ONLY_LOSS, "-q")[:2] == (code, f"{word}\n")


def test_quiet_tells_what_is_wrong_on_stderr(check):
    _, out, err = check("softmax", *ONLY_LOSS, "-q")
    assert (out, "initial-loss failed: the input of cross_entropy is probabilities" in err) == ("fail\n", True)


def test_the_record_is_shown_again_and_exported(check, capsys, tmp_path):
    files = {name: tmp_path / name for name in ("r.json", "r.csv", "r.md")}
    options = ["-o", str(files["r.json"]), "--export-csv", str(files["r.csv"]), "--export-markdown", str(files["r.md"])]
    code, out, _ = check("softmax", *ONLY_LOSS, *options)
    assert code == 5
    assert "\n10 checks: 1 failed, 9 skipped\n" in out
    assert "Leave out the softmax" in out
    assert main(["show", str(files["r.json"])]) == 0
    assert capsys.readouterr().out == out
    rows = list(csv.DictReader(io.StringIO(files["r.csv"].read_text())))
    assert [row["check"] for row in rows] == list(CHECKS)
    assert rows[2]["status"] == "fail"
    assert "| initial-loss | fail |" in files["r.md"].read_text()
    assert from_json(files["r.json"].read_text()).result.named("fail") == ("initial-loss",)


def test_a_job_on_github_gets_the_names_of_what_failed(check, monkeypatch, tmp_path):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.setenv(name, str(tmp_path / name))
    code, _, err = check("softmax", *ONLY_LOSS)
    assert code == 5
    assert "::error title=lrscout check::Checks failed: initial-loss." in err
    outputs = (tmp_path / "GITHUB_OUTPUT").read_text().splitlines()
    assert {"checks=failed", "failed=initial-loss", "warned="} <= {line.rstrip() for line in outputs}
    assert "| initial-loss | fail |" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()


def test_json_is_the_record_alone(check):
    code, out, _ = check("sound", "--json", *ONLY_LOSS)
    assert (code, json.loads(out)["result"]["checks"][2]["status"]) == (0, "ok")


def test_the_traceback_of_the_targets_exception_is_shown(check):
    code, out, err = check("raises_in_the_loss")
    assert code == 5
    assert 'raise IndexError("the user\'s own mistake")' in err
    assert "fail  initial-loss  IndexError: the user's own mistake." in out


def test_a_training_command_is_no_target(capsys):
    assert main(["check", "--", "python", "train.py"]) == 2
    assert "lrscout check train.py:build" in capsys.readouterr().err


def test_a_recipe_has_a_section_for_it(tmp_path, capsys):
    skipped = ", ".join(name for name in CHECKS if name != "initial-loss")
    (tmp_path / "r.yaml").write_text(f"version: 1\ntarget: {FILE}:softmax\ncheck: {{skip: [{skipped}]}}\n")
    assert main(["check", "--recipe", str(tmp_path / "r.yaml"), "-q"]) == 5


# A dataset in the place of a loader

SHORT = {
    "check": [],
    "find-lr": ["--steps", "30", "--min-lr", "1e-4", "--max-lr", "1"],
    "find-batch-size": ["--max", "8", "--objective", "memory", "--isolate", "never"],
    "compare-schedulers": [
        "-s",
        "cosine",
        "-s",
        "wsd",
        "--steps",
        "10",
        "--seeds",
        "1",
        "--lr",
        "0.1",
        "--lr-mode",
        "shared",
    ],
}


@pytest.mark.parametrize("command", SHORT)
@pytest.mark.parametrize("name", ["map_dataset", "iterable_dataset"])
def test_a_dataset_is_no_loader_for_any_command(command, name, capsys):
    assert main([command, f"{FILE}:{name}", "--device", "cpu", "-q", *SHORT[command]]) == 3
    err = capsys.readouterr().err
    assert "The train_loader is a dataset" in err
    assert "Wrap it in a DataLoader" in err


def test_a_dataset_is_no_val_loader_either():
    live = dataclasses.replace(broken.sound(), val_loader=broken.Samples())
    short = {"schedules": ["cosine", "wsd"], "steps": 10, "seeds": 1, "lr": 0.1, "lr_mode": "shared"}
    with pytest.raises(TargetError, match="The val_loader is a dataset"):
        lrscout.compare_schedulers(live, device="cpu", **short)


def test_samples_with_a_number_for_a_label_are_told_from_batches():
    with pytest.raises(TargetError, match="'NumberedSamples'"):
        lrscout.check(broken.numbered_samples, device="cpu")


@pytest.mark.parametrize("build", [broken.iterable_batches, broken.list_of_batches, broken.iterable_in_loader])
def test_what_yields_batches_stays_a_loader(build):
    assert lrscout.find_lr(build, steps=20, min_lr=1e-4, max_lr=1.0, device="cpu").points


def test_a_batch_may_have_a_number_beside_it():
    def step(model, batch):
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    workload = broken.parts(train_loader=broken.OwnBatches(numbered=True), loss_fn=None, step=step)
    assert lrscout.find_lr(workload, steps=20, min_lr=1e-4, max_lr=1.0, device="cpu").points
