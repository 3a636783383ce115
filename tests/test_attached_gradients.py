"""The noise of the gradients inside programs of somebody else's: that of the same model on its own."""

from __future__ import annotations

import runpy
import sys
from types import SimpleNamespace

import pytest
from attaching import PROGRAMS
from gradients_by_hand import in_metric, totals
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lrscout.engine.trials.bench import Bench
from lrscout.engine.trials.source import Source
from lrscout.errors import LrscoutError
from lrscout.processes.attach_errors import CommandEndedError
from lrscout.processes.messages import Limits
from lrscout.results import CommandTarget, Target
from lrscout.runs.batch_size.command import CommandTrials
from lrscout.runs.batch_size.noise import MeasureNoise
from lrscout.settings import FindBatchSizeSettings

pytestmark = [
    pytest.mark.slow,  # every test starts programs that train
    pytest.mark.skipif(sys.platform != "linux", reason="commands are supervised on Linux"),
    pytest.mark.usefixtures("one_thread"),
]

NOISY = SimpleNamespace(**runpy.run_path(str(PROGRAMS / "noisy.py")))
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")
LR, SIZE, REAL, STILL_STEPS = 0.05, 64, 3, 8


def sums(command) -> tuple[int, float, float]:
    session = command.session(*range(len(command.attach(keep=False).optimizers)))
    for _ in range(REAL):
        session.step(LR)
    session.losses(wait=True)
    session.begin_gradients()
    for _ in range(STILL_STEPS):
        session.step(1e-6 * LR)
    session.losses(wait=True)
    found = session.end_gradients()
    session.step(LR)  # the program goes on, and nothing more is added up
    session.losses(wait=True)
    return found


def by_hand(name: str, counted=slice(None)) -> tuple[int, float, float]:
    model, (inputs, labels) = NOISY.make_model(), NOISY.make_data()
    (optimizer,) = NOISY.make_optimizers(name, model, is_split=False)
    gradients = []
    for step in range(REAL + STILL_STEPS):
        optimizer.param_groups[0]["lr"] = LR if step < REAL else 1e-6 * LR
        optimizer.zero_grad()
        own = slice(step * SIZE, (step + 1) * SIZE)
        nn.functional.cross_entropy(model(inputs[own]), labels[own]).backward()
        if step >= REAL:
            gradients.append(in_metric(model[counted].parameters(), optimizer))
        optimizer.step()
    return totals(gradients)


@pytest.mark.parametrize("arguments", [("--scaler",), ("--optimizer", "AdamW", "--closure")])
def test_the_sums_are_those_of_a_plain_loop(start, arguments):
    name = "AdamW" if "AdamW" in arguments else "SGD"
    assert sums(start(sys.executable, "noisy.py", *arguments)) == pytest.approx(by_hand(name), rel=1e-4)


def test_of_several_optimizers_the_leading_one_counts(start):
    of_first_layer = by_hand("SGD", counted=slice(0, 1))
    assert sums(start(sys.executable, "noisy.py", "--split")) == pytest.approx(of_first_layer, rel=1e-4)


def test_data_parallel_ranks_count_the_samples_of_all(start):
    count, squares, square = sums(start(*TORCHRUN, "noisy.py", "--optimizer", "AdamW"))
    alone = by_hand("AdamW")
    assert (count, squares / 2, square / 2) == pytest.approx(alone, rel=1e-3)  # each rank has all gradients


def test_shares_of_sharded_gradients_add_up(start):
    found = sums(start(*TORCHRUN, "noisy.py", "--optimizer", "AdamW", "--shard"))
    assert found == pytest.approx(by_hand("AdamW"), rel=1e-3)


def trials_of(*arguments: str, **settings) -> CommandTrials:
    command = (sys.executable, str(PROGRAMS / "noisy.py"), "--batch-size", "{batch_size}", *arguments)
    return CommandTrials(CommandTarget(command, str(PROGRAMS)), FindBatchSizeSettings(**settings), None, lambda: None)


def build(batch_size):
    model, loader = NOISY.make_model(), DataLoader(TensorDataset(*NOISY.make_data()), batch_size)
    (optimizer,) = NOISY.make_optimizers("SGD", model, is_split=False)
    return {"model": model, "train_loader": loader, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer}


def test_a_program_and_a_target_have_the_same_noise():
    bench = Bench(Source(Target(None), "batch_size", 0, live=build), FindBatchSizeSettings(device="cpu"), True)
    target = MeasureNoise(SIZE, NOISY.SAMPLES, 60.0, Limits()).perform(bench, lambda report: None)
    program = trials_of().noise(SIZE, NOISY.SAMPLES, 60.0)
    assert [moment.step for moment in program.moments] == [moment.step for moment in target.moments]
    assert len(target.moments) >= 2
    for of_program, of_target in zip(program.moments, target.moments):
        assert of_program.loss == pytest.approx(of_target.loss, rel=1e-4)
        assert (of_program.noise or 0) == pytest.approx(of_target.noise or 0, rel=1e-2)
    assert (program.scale, program.batch_size) == (pytest.approx(target.scale, rel=1e-2), SIZE)


def test_the_weights_of_an_optimizer_that_was_not_named_stay_where_they_are_too():
    all_of_them, first = (trials_of("--split", optimizer=name).noise(SIZE, None, 60.0) for name in (None, "1"))
    assert all_of_them == first


def test_a_program_that_ends_by_itself_keeps_what_was_measured():
    found = trials_of("--steps", "60").noise(SIZE, None, 60.0)  # 20 + 16, and then 20 + 16 again
    assert [moment.step for moment in found.moments] == [20]


def test_a_program_that_ends_before_the_first_measurement_tells_nothing():
    assert trials_of("--steps", "10").noise(SIZE, None, 60.0) is None


def test_a_program_that_fails_says_why():
    with pytest.raises(LrscoutError, match="after 50 optimizer steps") as caught:
        trials_of("--fail-at", "50").noise(SIZE, None, 60.0)
    assert "the disk is full" in caught.value.hint


def test_a_start_that_takes_as_long_as_there_is_time_is_not_begun(monkeypatch):
    monkeypatch.setattr(CommandTrials, "overhead", 5.0)
    monkeypatch.setattr(CommandTrials, "_start", None)
    assert trials_of().noise(SIZE, None, 5.0) is None


def test_the_start_is_part_of_the_time_for_the_noise(monkeypatch):
    given = []
    monkeypatch.setattr(
        "lrscout.runs.batch_size.command.measured_moments",
        lambda session, lr, samples, seconds: given.append(seconds) or (),
    )
    trials = trials_of()
    trials.noise(SIZE, None, 60.0)
    assert 0.1 < 60.0 - given[0] <= trials.overhead


def test_a_program_that_ends_while_it_is_timed_has_fewer_steps():
    assert 0 < len(trials_of("--steps", "8").time(SIZE).seconds) <= 6
    with pytest.raises(CommandEndedError, match="after 1 optimizer step"):
        trials_of("--steps", "1").time(SIZE)
