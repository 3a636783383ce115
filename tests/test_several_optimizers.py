"""Training commands with more than one optimizer: each is searched in turn, or those that the user names."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import lrscout
from lrscout.cli import main
from lrscout.errors import UsageError
from lrscout.formatting import format_lr
from lrscout.processes.command import AttachedCommand
from lrscout.processes.ranks import Attachment, GroupFacts, OptimizerFacts
from lrscout.records import from_json
from lrscout.report.find_lr import answer, problem, rows
from lrscout.report.terminal import PAGE
from lrscout.report.views import summary
from lrscout.results import Suggestion
from lrscout.runs.programs import chosen_optimizers, driven_together

PROGRAMS = Path(__file__).parent / "programs"
ACTOR_CRITIC = (sys.executable, str(PROGRAMS / "actor_critic.py"))
SHARES = """
import torch
one, two = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
first, second = torch.optim.SGD([one], lr=1e-3), torch.optim.SGD([two], lr=1e-2)
for _ in range(2):
    (one * two).sum().backward()
    first.step()
    second.step()
    print(first.param_groups[0]["lr"], second.param_groups[0]["lr"])
"""
LATE = """
import sys
import torch
from torch import nn

torch.manual_seed(int(sys.argv[-1]))
first, second, late = nn.Linear(8, 1), nn.Linear(8, 1), None
optimizer = torch.optim.SGD(first.parameters(), lr=0.01)
for step in range(1_000_000):
    x = torch.randn(16, 8)
    optimizer.zero_grad()
    nn.functional.mse_loss(first(x).squeeze(1), x.sum(1)).backward()
    optimizer.step()
    if step >= 10:
        late = late or torch.optim.Adam(second.parameters(), lr=0.01)
        late.zero_grad()
        nn.functional.mse_loss(second(x).squeeze(1), x.sum(1)).backward()
        late.step()
"""
ONE, TWO = OptimizerFacts("Muon", (GroupFacts(None, 6, 2e-2),)), OptimizerFacts("Adam", (GroupFacts(None, 4, 1e-3),))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands are supervised on Linux")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The record of a search in a program that trains a critic and an actor."""
    path = tmp_path_factory.mktemp("several") / "run.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        assert main(["find-lr", "--max-steps", "150", "--quiet", "-o", str(path), "--", *ACTOR_CRITIC]) == 0
    return from_json(path.read_text())


def test_every_optimizer_gets_a_rate_of_its_own(searched):
    (other,) = searched.result.others
    assert (other.number, searched.environment["groups"][0]["lr"], other.groups[0]["lr"]) == (2, 2e-3, 1e-2)
    assert searched.result.suggestion.lr != other.result.suggestion.lr
    assert other.result.points[0].loss == pytest.approx(math.log(3), rel=0.2)  # each optimizer has its own loss


def test_a_rate_found_while_the_others_kept_theirs_is_in_doubt(searched):
    for result in (searched.result, searched.result.others[0].result):
        assert result.suggestion.confidence == "low"
        assert "own rates meanwhile" in result.suggestion.doubts[-1]


def test_the_report_has_a_line_for_every_optimizer(searched):
    text = summary(searched, PAGE)
    first, second = (format_lr(each.suggestion.lr) for each in (searched.result, searched.result.others[0].result))
    assert f"Suggested learning rates: {first} (1 AdamW), {second} (2 SGD)" in text
    for label in ("1 AdamW", "2 SGD"):
        assert f"{label}: For the peak of a decaying schedule, with low confidence:" in " ".join(text.split())
        assert text.count(f"\n\n{label}\n\n") == 1  # above its plot
    assert "1.0e-2 -> " in text
    assert len(answer(searched).splitlines()) == 2
    assert problem(searched) is None
    head, *points = rows(searched)
    assert head == ("optimizer", "step", "lr", "loss", "smoothed_loss")
    assert {row[0] for row in points} == {1, 2}


def test_an_optimizer_without_an_answer_is_told(searched):
    (other,) = searched.result.others
    nothing = replace(other.result, suggestion=Suggestion(None, "scout", "the loss never fell"))
    record = replace(searched, result=replace(searched.result, others=(replace(other, result=nothing),)))
    assert answer(record).splitlines()[1] == "none"
    assert problem(record) == "No learning rate suggested for optimizer 2: the loss never fell"


def test_the_optimizer_that_is_named_is_the_only_one_searched(capfd, monkeypatch, tmp_path):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = ["--optimizer", "2", "--max-steps", "150", "--json", "-o", str(tmp_path / "run.json")]
    assert main(["find-lr", *arguments, "--", *ACTOR_CRITIC]) == 0
    document = json.loads(capfd.readouterr()[0])
    assert document["environment"]["groups"][0]["lr"] == 1e-2
    assert document["result"]["others"] == []
    assert document["result"]["suggestion"]["confidence"] == "low"


def test_all_optimizers_may_have_one_multiplier(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = lrscout.find_lr(command=ACTOR_CRITIC, optimizer="all", max_steps=150)
    first, second = found.suggestion.groups
    assert second == found.suggestion.lr == pytest.approx(5 * first)
    assert found.result.others == ()


def found(optimizers):
    return Attachment(1, tuple(optimizers), "cpu", "", "", "", 1)


@pytest.mark.parametrize(("wanted", "numbers"), [(None, (0, 1)), ("all", (0, 1)), ("2", (1,)), ("muon", (0,))])
def test_optimizers_are_named_by_number_or_class(wanted, numbers):
    assert chosen_optimizers(found([ONE, TWO]), wanted) == numbers


@pytest.mark.parametrize(
    ("known", "wanted", "said"),
    [
        ([ONE, TWO], "3", "no optimizer '3'"),
        ([ONE, TWO], "9" * 5000, "no optimizer '999"),
        ([ONE, TWO], "sgd", "1: Muon of 6 p"),
        ([TWO, TWO], "adam", "2 optimizers"),
    ],
)
def test_an_optimizer_that_is_not_there_or_not_alone_is_refused(known, wanted, said):
    with pytest.raises(UsageError, match=said):
        chosen_optimizers(found(known), wanted)


def test_optimizers_driven_together_keep_the_ratios_of_all_their_groups():
    together = driven_together([ONE, TWO], (0, 1))
    assert together.name == "Muon and Adam"
    assert together.group_lrs(2.0) == pytest.approx((2.0, 0.1))


def test_each_optimizer_steps_at_its_share_of_the_rate(tmp_path):
    program = tmp_path / "shares.py"
    program.write_text(SHARES)
    with AttachedCommand([sys.executable, str(program)]) as command:
        command.attach(keep=False)
        session = command.session(0, 1)
        for lr in (0.5, 0.25):
            session.step(lr)
        session.losses(wait=True)
        command.release(None)
        command.wait(20)
    assert command.output == ("0.05 0.5", "0.025 0.25")


@pytest.fixture
def late(tmp_path, monkeypatch):
    """The command of a program that makes an optimizer in its eleventh step."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    program = tmp_path / "late.py"
    program.write_text(LATE)
    return [sys.executable, str(program), "--seed", "{seed}"]


def test_an_optimizer_that_is_made_after_the_first_step_is_left_out_with_a_warning(late, capfd, tmp_path):
    path = tmp_path / "run.json"
    assert main(["find-lr", "--max-steps", "150", "-o", str(path), "--", *late]) == 0
    record = from_json(path.read_text())
    assert record.result.suggestion.lr is not None
    assert record.result.others == ()
    assert "own rates meanwhile" in record.result.suggestion.doubts[-1]
    (warning,) = [each for each in record.warnings if "after the first step" in each]
    assert warning.startswith("Adam of 9 parameters was made after the first step")
    assert "Adam of 9 parameters" in capfd.readouterr().err


@pytest.mark.slow
def test_an_optimizer_that_is_made_after_the_first_step_is_left_out_in_workers_too(late):
    found = lrscout.find_lr(command=late, max_steps=150, seeds=2, jobs="2")
    assert found.suggestion.lr is not None
    assert "own rates meanwhile" in found.suggestion.doubts[-1]
    assert len([each for each in found.warnings if "after the first step" in each]) == 1


@pytest.mark.slow
def test_an_optimizer_that_is_made_after_the_first_step_is_no_concern_of_who_names_another(late):
    found = lrscout.find_lr(command=late, max_steps=150, optimizer="1")
    assert "own rates meanwhile" in found.suggestion.doubts[-1]
    assert found.warnings == ()
