"""What every test gets: a cache folder of its own, and an environment that says nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attaching import MARK, PROGRAMS, alive
from hypothesis import HealthCheck, settings

from lrscout.processes.command import AttachedCommand
from lrscout.processes.start import ForkServer
from lrscout.runs.batch_size.trials import MALLOC

# a busy machine is slow; a property is not wrong for that
settings.register_profile("lrscout", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lrscout")

# the background job of a shell, as tests are in some CIs, ignores these signals, and so would all that it starts
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)

SPEAKING = (
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLUMNS",
    "CI",
    "GITHUB_ACTIONS",
    "TTY_COMPATIBLE",
)


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records go to a folder of the test; returns it."""
    for name in [*SPEAKING, *(n for n in os.environ if n.startswith("LRSCOUT_"))]:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "lrscout"


@pytest.fixture(scope="session")
def shared_server() -> Iterator[SharedServer]:
    """One fork server for all searches of this process: it takes seconds to load torch."""
    if sys.platform != "linux":
        pytest.skip("workers are forked on Linux only")
    server = SharedServer(MALLOC, expendable=True)
    yield server
    super(SharedServer, server).close()


@pytest.fixture
def mark() -> str:
    """What the processes of a test can be told by."""
    return f"{os.getpid()}-{time.monotonic_ns()}"


@pytest.fixture
def start(mark: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AttachedCommand]]:
    """Starts a program, and sees that nothing of it is left after the test."""
    # two ranks take 8 s to end by themselves on a busy machine, and an exit code of 0 says that they did
    monkeypatch.setattr("lrscout.processes.command.END_SECONDS", 20.0)

    def started(*argv: str, **options: object) -> AttachedCommand:
        path = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))
        environment = {MARK: mark, "OMP_NUM_THREADS": "1", "PATH": path}
        command = AttachedCommand(argv, cwd=PROGRAMS, environment=environment, **options)
        commands.append(command)
        return command

    commands: list[AttachedCommand] = []
    yield started
    for command in commands:
        command.close()
    assert alive(mark) == []


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the programs have that are attached to: the last digits depend on it."""
    import torch  # most tests do without

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class SharedServer(ForkServer):
    """A fork server that outlives those who use it."""

    def close(self) -> None:
        pass
