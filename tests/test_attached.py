"""Commands that other people wrote: lrscout attaches to the optimizer inside them, drives it, and ends them."""

from __future__ import annotations

import ast
import math
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from attaching import MARK, PROGRAMS, RATES, alive, plain_reference, sweep, twice

from lrscout.errors import LrscoutError, TargetError, UsageError
from lrscout.processes.attach_errors import CommandEndedError, CommandFailedError, NotAttachedError
from lrscout.processes.command import AttachedCommand
from lrscout.processes.driving import MOST_AHEAD
from lrscout.processes.launch_environment import SITE

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="what is left running is looked up in /proc"),
    pytest.mark.usefixtures("one_thread"),
]

SKIPS = """
import torch
w = torch.nn.Parameter(torch.ones(1))
optimizer = torch.optim.SGD([w], lr=0.0)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
for step in range(10**6):
    optimizer.zero_grad()
    loss = w.sum() * (float("inf") if step % 2 == 0 else 3.0)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
"""


def amp_reference(rates: list[float]) -> list[float]:
    """The losses of tests/programs/amp.py at these rates, without its scaler."""
    from torch import nn

    torch.manual_seed(0)
    x, y = torch.randn(4, 16, 8), torch.randn(4, 16, 1)
    model = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for lr in rates:
        optimizer.param_groups[0]["lr"] = lr
        total = 0.0
        for micro in range(4):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = nn.functional.mse_loss(model(x[micro]), y[micro]) / 4
            (loss * 1024.0).backward()
            total += loss.item()
        for parameter in model.parameters():
            parameter.grad /= 1024.0
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    return losses


def test_the_losses_are_those_of_a_plain_loop_and_the_state_goes_back(start):
    command = start(sys.executable, "plain.py")
    first, second = twice(command)
    assert first == plain_reference(RATES)
    assert second == first  # weights, moments and the buffers of the batch norm; the cosine has no say
    command.close()
    assert command.exit_code == 0


def test_what_was_found_is_told(start):
    command = start(sys.executable, "plain.py", "--lr", "0.01")
    found = command.attach()
    (optimizer,) = found.optimizers
    assert (found.ranks, found.device, found.threads, optimizer.name) == (1, "cpu", 1, "AdamW")
    assert [(group.name, group.parameters, group.lr) for group in optimizer.groups] == [
        (None, 176, 0.001),
        ("head", 17, 0.01),
    ]
    assert optimizer.own_lr == 0.01
    assert optimizer.group_lrs(1.0) == (0.1, 1.0)
    assert found.python == sys.version.split()[0]


WARMS_UP = """
import torch
w, b = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1))
optimizer = torch.optim.AdamW([{"params": [w]}, {"params": [b], "lr": 6e-5}], lr=6e-4)
assert set(optimizer.param_groups[0]) == set(optimizer.state_dict()["param_groups"][0])
for step in range(10**6):
    for group, peak in zip(optimizer.param_groups, (6e-4, 6e-5)):
        group["lr"] = min((step + 1) / 2000, 1.0) * peak
    (w + b).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
"""

ONE_CYCLE = """
import torch
w = torch.nn.Parameter(torch.ones(1))
optimizer = torch.optim.SGD([w], lr=1e-3)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10**6)
for step in range(10**6):
    w.sum().backward()
    optimizer.step()
    scheduler.step()
"""


@pytest.mark.parametrize(("program", "own"), [(WARMS_UP, [6e-4, 6e-5]), (ONE_CYCLE, [0.1])])
def test_the_programs_own_rate_is_the_peak_of_its_schedule(start, program, own):
    (optimizer,) = start(sys.executable, "-c", program).attach().optimizers
    assert [group.lr for group in optimizer.groups] == own


def test_steps_without_a_rate_are_the_programs_own(start):
    command = start(sys.executable, "plain.py")
    command.attach()
    session = command.session()
    for _ in range(5):
        session.step()
    cosine = [1e-3 * (1 + math.cos(math.pi * step / 100)) / 2 for step in range(5)]
    assert session.losses(wait=True) == pytest.approx(plain_reference(cosine), rel=1e-6)


def test_a_training_sets_its_rate_before_the_step(start):
    command = start(sys.executable, "plain.py")
    command.attach()
    session = command.session()
    for lr in RATES:
        session.set_lr(lr)
        session.step()
    assert session.losses(wait=True) == plain_reference(RATES)
    assert session.evaluate() is None
    assert command.steps == len(RATES)


def test_mixed_precision_with_accumulation_gives_the_unscaled_sum(start):
    first, second = twice(start(sys.executable, "amp.py"))
    assert first == amp_reference(RATES)
    assert second == first


def test_a_sweep_that_becomes_non_finite_says_so_and_is_undone(start):
    rates = [1e30] * 4
    first, second = twice(start(sys.executable, "amp.py"), rates=rates)
    assert not math.isfinite(first[-1])
    assert second[0] == first[0]


def test_ranks_of_torchrun_step_together_and_end_with_0(start):
    command = start(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "ddp.py")
    first, second = twice(command)
    assert command.attach().ranks == 2
    assert second == pytest.approx(first, rel=1e-12)
    assert first[0] != first[1]
    command.close()
    assert command.exit_code == 0


def test_a_slow_rank_is_waited_for(start):
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")
    first, second = twice(start(*torchrun, "ddp.py", "--slow"))
    assert second == pytest.approx(first, rel=1e-12)


def test_a_rank_that_is_killed_is_one_error_soon(start):
    lines: list[str] = []
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone")
    command = start(*torchrun, "ddp.py", "--pids", on_output=lines.append)
    command.attach()
    session = command.session()
    sweep(session)
    deadline = time.monotonic() + 20
    while not (told := re.search(r"rank 1 is (\d+)\n", "\n".join([*lines, ""]))) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(int(told[1]), signal.SIGKILL)
    killed = time.monotonic()
    with pytest.raises(CommandFailedError, match="after 6 optimizer steps"):
        sweep(session, RATES * 10)
    assert time.monotonic() - killed < 20
    with pytest.raises(CommandFailedError):  # and not a hang, whatever is tried then
        session.restore()


def test_each_optimizer_of_a_gan_is_driven_in_turn(start):
    command = start(sys.executable, "gan.py")
    assert [(each.name, each.own_lr) for each in command.attach().optimizers] == [("Adam", 2e-4), ("Adam", 1e-4)]
    discriminator = command.session(0)
    first = sweep(discriminator)
    discriminator.restore()
    generator = command.session(1)
    of_generator = sweep(generator)
    generator.restore()
    again = sweep(command.session(0))
    assert first[0] == pytest.approx(2 * math.log(2), rel=0.3)  # two losses of a coin each
    assert of_generator[0] == pytest.approx(math.log(2), rel=0.3)
    assert again == first


def test_a_step_that_the_scaler_skips_counts_with_its_own_loss(start, tmp_path):
    program = tmp_path / "skips.py"
    program.write_text(SKIPS)
    command = start(sys.executable, str(program))
    command.attach()
    assert sweep(command.session(), [0.0] * 4) == [3.0, math.inf, 3.0, math.inf]


@pytest.mark.parametrize("option", ["--exceptions", "--all"])
def test_a_program_that_catches_exceptions_ends_all_the_same(start, option):
    command = start(sys.executable, "catches.py", option)
    twice(command)
    command.close()
    assert command.exit_code == 0  # it was not terminated


def test_a_program_that_ends_too_early_says_after_how_many_steps(start):
    command = start(sys.executable, "plain.py", "--epochs", "4")
    command.attach()
    with pytest.raises(CommandEndedError, match="ended after 4 optimizer steps") as caught:
        sweep(command.session(), RATES)
    assert caught.value.steps == 4
    assert "epochs" in caught.value.hint
    assert "--steps" in caught.value.hint


def test_a_program_that_fails_in_the_middle_shows_its_traceback(start):
    command = start(sys.executable, "plain.py", "--die-at", "2")
    command.attach()
    with pytest.raises(CommandFailedError, match="exited with code 1 after 3 optimizer steps") as caught:
        sweep(command.session(), RATES)
    assert "RuntimeError: the disk is full" in caught.value.hint


def test_a_program_that_fails_before_its_first_step_shows_its_traceback(start):
    command = start(sys.executable, "plain.py", "--epochs", "many")
    with pytest.raises(CommandFailedError, match="exited with code 2 before its first optimizer step") as caught:
        command.attach()
    assert "invalid int value: 'many'" in caught.value.hint


def test_a_program_without_an_optimizer_says_what_was_seen(start):
    command = start(sys.executable, "by_hand.py")
    with pytest.raises(NotAttachedError, match=r"without a step.*One Python process was seen, and 1 of them") as caught:
        command.attach()
    assert caught.value.exit_code == TargetError.exit_code
    assert "by hand" in caught.value.hint


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("python", "-c", "print('hello')"), "none of them imported torch"),
        (("python", "-I", "by_hand.py"), "No Python process"),
        (("true",), "No Python process"),
    ],
)
def test_a_command_that_was_never_attached_to_says_why(start, argv, said):
    with pytest.raises(NotAttachedError, match=said):
        start(*argv).attach()


def test_a_command_that_ended_before_anybody_listened_is_not_waited_for(start):
    command = start("true", timeout=100)
    assert command.wait(20) == 0
    began = time.monotonic()
    with pytest.raises(NotAttachedError):
        command.attach()
    assert time.monotonic() - began < 20


def test_no_step_in_time_is_an_error(start):
    command = start("sleep", "100", timeout=0.3)
    with pytest.raises(NotAttachedError, match=r"no step of a torch optimizer within 0\.3 s"):
        command.attach()


def test_lbfgs_is_refused_by_name(start):
    with pytest.raises(UsageError, match="LBFGS calls the loss several times"):
        start(sys.executable, "closures.py", "LBFGS").attach()


def test_a_closure_that_is_called_once_is_as_good_as_a_loop(start):
    first, second = twice(start(sys.executable, "closures.py", "AdamW"))
    assert second == first
    assert first[-1] < first[0]


def test_a_script_around_the_program_and_what_it_left_in_the_background_end_too(start):
    command = start("bash", "run.sh")
    first, second = twice(command)
    assert first == second == plain_reference(RATES)
    command.close()


def test_workers_of_a_data_loader_do_not_disturb(start):
    command = start(sys.executable, "workers.py")
    command.attach()
    session = command.session()
    for _ in range(3):
        assert len(sweep(session, RATES * 3)) == 3 * len(RATES)
        session.restore()
    command.close()
    assert command.exit_code == 0


@pytest.mark.parametrize(("argv", "hint"), [(("no-such-command",), "bash -c"), (("plain.py",), "python plain.py")])
def test_a_command_that_cannot_be_started_is_a_usage_error(start, monkeypatch, argv, hint):
    monkeypatch.chdir(PROGRAMS)
    with pytest.raises(UsageError, match="cannot be started") as caught:
        start(*argv)
    assert hint in caught.value.hint


@pytest.mark.parametrize("word", ["nul\0", "half\ud800"])
def test_a_command_with_a_word_that_no_process_can_be_given_is_a_usage_error(start, word):
    with pytest.raises(UsageError, match="cannot be started"):
        start(sys.executable, word)


TRAINS = """
import subprocess, sys, torch
w = torch.nn.Parameter(torch.ones(1))
o = torch.optim.SGD([w], 0.1)
def train(steps):
    for _ in range(steps):
        o.zero_grad()
        w.sum().backward()
        o.step()
"""


def test_a_second_training_process_goes_on_by_itself(start, tmp_path):
    (tmp_path / "second.py").write_text(TRAINS + "train(10); print('trained to', round(1 + w.item()))")
    runs = f"train(2); subprocess.run([sys.executable, {str(tmp_path / 'second.py')!r}]); train(10**6)"
    command = start(sys.executable, "-c", TRAINS + runs)
    command.attach()
    assert sweep(command.session(), [0.0] * 10) == [1.0] * 10
    command.close()
    assert "trained to 1" in command.output


def test_an_optimizer_that_is_replaced_is_no_hang(start):
    command = start(sys.executable, "-c", TRAINS + "train(3); o = torch.optim.SGD([w], 0.1); train(10**6)")
    command.attach()
    with pytest.raises(TargetError, match="SGD does not step any more after 3 steps"):
        sweep(command.session())


def test_few_steps_are_in_flight(start):
    command = start(sys.executable, "plain.py")
    command.attach()
    session = command.session()
    began = time.monotonic()
    taken = 0
    while time.monotonic() - began < 0.5:
        session.step(1e-6)
        taken += 1
        assert taken - command.steps <= MOST_AHEAD
    assert taken > 50


def test_nothing_survives_when_lrscout_is_killed(mark):
    code = (
        "import time; from lrscout.processes.command import AttachedCommand;"
        "command = AttachedCommand(['bash', 'run.sh']); command.attach();"
        "print('attached', flush=True); time.sleep(100)"
    )
    path = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
    environment = {**os.environ, MARK: mark, "PATH": path, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROGRAMS, env=environment, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout.readline() == b"attached\n"
        assert len(alive(mark)) >= 5
        parent.kill()
    deadline = time.monotonic() + 5
    while alive(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert alive(mark) == []


def test_ctrl_c_in_a_sweep_leaves_everything_closable(start, monkeypatch):
    command = start(sys.executable, "plain.py")
    command.attach()
    session = command.session()
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            sweep(session, [1e-6] * 10**7)
    finally:
        signal.signal(signal.SIGALRM, before)
    command.close()
    assert command.exit_code in (0, -signal.SIGTERM)  # after Ctrl-C, it is not waited for


def test_ranks_on_other_machines_reach_it_by_a_port_and_strangers_do_not(start):
    command = start(sys.executable, "plain.py", listen="localhost")
    host, port = command.address.removeprefix("tcp:").rsplit(":", 1)
    strangers = [socket.create_connection((host, int(port))) for _ in range(4)]
    strangers[0].sendall(b"GET / HTTP/1.1\r\n\r\n")
    strangers[1].sendall(b'{"hello": 1, "rank": 0, "world_size": 1, "token": "guessed"}\n')
    strangers[2].sendall(b"x" * (2 << 20))
    first, second = twice(command)
    assert first == second == plain_reference(RATES)
    for stranger in strangers:
        stranger.close()


@pytest.mark.parametrize("place", ["192.0.2.1", "127.0.0.1:" + "9" * 5000, "x" * 300])
def test_what_is_no_address_of_this_machine_is_a_usage_error(place):
    with pytest.raises(UsageError, match=f"cannot listen at {re.escape(place)}"):
        AttachedCommand([sys.executable], listen=place)


def test_a_program_that_takes_no_further_step_is_an_error_in_time(start, monkeypatch):
    code = TRAINS + "import time; train(3); print('no more'); time.sleep(100)"
    command = start(sys.executable, "-c", code, patience=0.5)
    command.attach()
    with pytest.raises(TargetError, match=r"no further step within 0\.5 s, after [123] optimizer steps") as caught:
        sweep(command.session())
    assert "no more" in caught.value.hint
    monkeypatch.setattr("lrscout.processes.command.END_SECONDS", 0.1)  # it sleeps


def test_the_same_weights_have_the_same_fingerprint(start):
    found = []
    for seed in ("0", "0", "1"):
        command = start(sys.executable, "plain.py", "--seed", seed)
        command.attach(keep=False)
        found.append(command.fingerprint())
        command.close()
    assert found[0] == found[1] != found[2]


def test_a_released_program_goes_on_at_the_last_rate_and_its_exit_code_is_told(start):
    code = TRAINS + "train(10); print('ends at', round(w.item(), 3)); sys.exit(7)"
    command = start(sys.executable, "-c", code)
    command.attach(keep=False)
    session = command.session()
    for _ in range(4):
        session.step(0.0)
    assert session.losses(wait=True) == [1.0] * 4
    command.release(0.05)
    assert command.wait(20) == 7
    command.close()
    assert command.output[-1] == "ends at 0.7"


def test_a_program_that_runs_for_hours_ends_in_time_after_its_release(start):
    command = start(sys.executable, "plain.py")
    command.attach(keep=False)
    command.session().step(1e-3)
    command.release(None)
    began = time.monotonic()
    command.close()
    assert time.monotonic() - began < 4
    assert command.exit_code == 0


def test_the_program_keeps_its_own_sitecustomize(start, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("print('mine')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = start(sys.executable, "-c", "import sys; print(sys.modules['sitecustomize'].__file__)")
    with pytest.raises(LrscoutError):
        command.attach()
    assert command.output == ("mine", str(tmp_path / "sitecustomize.py"))


def test_loggers_that_upload_are_off_unless_they_are_wanted(start):
    for options, said in (({}, "disabled"), ({"keep_environment": True}, "None")):
        command = start(sys.executable, "-c", "import os; print(os.environ.get('WANDB_MODE'))", **options)
        with pytest.raises(NotAttachedError):
            command.attach()
        assert command.output == (said,)


def test_a_python_without_torch_imports_next_to_nothing_more(tmp_path):
    """The hook takes 3 to 4 of the 14 ms in which Python starts; an import such as that of typing would double it."""
    bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    address = {"LRSCOUT_ATTACH_ADDRESS": str(tmp_path / "socket"), "LRSCOUT_ATTACH_FOLDER": str(tmp_path)}
    attached = {**bare, "PYTHONPATH": str(SITE), **address}

    def imported(environment: dict[str, str]) -> set[str]:
        command = [sys.executable, "-c", "import sys; print(*sys.modules)"]
        return set(subprocess.check_output(command, env=environment, text=True).split())

    more = imported(attached) - imported(bare)
    assert "sitecustomize" in more
    assert len(more) <= 8, more


def test_what_runs_in_the_program_needs_nothing_newer_than_python_3_9():
    for file in SITE.parent.rglob("*.py"):
        ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 9))
