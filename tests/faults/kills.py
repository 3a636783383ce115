"""A command of lrscout on a target that stops at a chosen phase, ended by a signal there; and what is left of it."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import lrscout
from lrscout.errors import RecordError
from lrscout.records import load

OWN_CODE = str(Path(lrscout.__file__).parent.parent)
MARK = "LRSCOUT_TEST_MARK"  # in the environment of all that a test has started
VICTIM = """
import os, pathlib, time

def at(phase):
    if os.environ["VICTIM_PHASE"] == phase:
        pathlib.Path(os.environ["VICTIM_THERE"]).touch()
        if phase != "stepping":
            time.sleep(60)

at("import")
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class Slow(TensorDataset):
    def __getitem__(self, index):
        at("loading")
        return super().__getitem__(index)

def build(batch_size=8, workers=0):
    at("building")
    torch.manual_seed(0)
    x = torch.randn(512, 8)
    loader = DataLoader(Slow(x, x.sum(1, keepdim=True)), batch_size, num_workers=workers)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    done = 0

    def step(batch):
        nonlocal done
        done += 1
        if done >= 3:
            at("stepping")
            at("in a step")
        time.sleep(0.01)
        return nn.functional.mse_loss(model(batch[0]), batch[1])

    return {"model": model, "train_loader": loader, "step": step,
            "optimizer": torch.optim.AdamW(model.parameters(), 1e-3)}

if __name__ == "__main__":
    workload = build()
    for epoch in range(10**6):
        for batch in workload["train_loader"]:
            loss = workload["step"](batch)
            workload["optimizer"].zero_grad()
            loss.backward()
            workload["optimizer"].step()
"""
COMMANDS = {
    "find-lr": ("find-lr", "victim.py:build", "--steps", "5000"),
    "find-lr, 2 workers": ("find-lr", "victim.py:build", "--steps", "5000", "-k", "workers=2"),
    "find-batch-size": ("find-batch-size", "victim.py:build", "--budget", "100MB"),
    "find-batch-size, 2 workers": ("find-batch-size", "victim.py:build", "--budget", "100MB", "-k", "workers=2"),
    "compare": ("compare-schedulers", "victim.py:build", "--steps", "2000", "--lr", "1e-3"),
    "compare, 2 jobs": ("compare-schedulers", "victim.py:build", "--steps", "2000", "--lr", "1e-3", "--jobs", "2"),
    "compare, 2 jobs, 2 workers": (
        *("compare-schedulers", "victim.py:build", "--steps", "2000", "--lr", "1e-3", "--jobs", "2"),
        *("-k", "workers=2"),
    ),
    "find-lr --": ("find-lr", "--steps", "5000", "--", sys.executable, "victim.py"),
    "compare --": (
        *("compare-schedulers", "--steps", "500", "--lr", "1e-3", "--jobs", "2", "--", sys.executable, "victim.py"),
    ),
    "find-lr, 2 ranks": ("find-lr", "victim.py:build", "--steps", "5000", "--nproc", "2"),
    "tune": ("tune", "victim.py:build", "--skip", "check", "--skip", "batch-size"),
    "run": ("run", "-s", "cosine", "--lr", "1e-3", "--steps", "500", "--", sys.executable, "victim.py"),
}
PHASES = ("import", "building", "loading", "stepping", "in a step")
ENDS = {
    "SIGINT": (signal.SIGINT, 130),
    "SIGINT twice": (signal.SIGINT, 130),
    "SIGTERM": (signal.SIGTERM, 143),
    "SIGHUP": (signal.SIGHUP, 129),
    "SIGKILL": (signal.SIGKILL, 137),
}
GONE_SECONDS = 2.0  # by when nothing of it may be left, on a busy machine


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what was left."""

    exit_code: int  # as a shell tells it
    text: str  # on its terminal
    seconds: float  # from the signal to its end
    alive: list[str]  # processes, so long after the signal
    temporary: list[str]  # files in its TMPDIR
    files: list[str]  # in its folder
    record: str | None  # its status, or what is wrong with it

    def faults(self, wanted_code: int) -> list[str]:
        """What went wrong."""
        found = []
        if self.exit_code != wanted_code:
            found.append(f"exit code {self.exit_code}")
        if "Traceback" in self.text or "Error:" in self.text or "bug in lrscout" in self.text:
            found.append("text")
        if self.seconds > GONE_SECONDS:
            found.append(f"took {self.seconds:.1f} s")
        if self.record not in (None, "interrupted", "running"):
            found.append(f"record: {self.record}")
        if self.alive:
            found.append(f"alive: {self.alive}")
        lost = [each for each in self.temporary if wanted_code != 137 or not each.startswith("pymp-")]  # of workers
        if lost:
            found.append(f"TMPDIR: {lost}")
        if wanted_code != 137 and self.text.rfind("\x1b[?25l") > self.text.rfind("\x1b[?25h"):
            found.append("the cursor is hidden")
        left = {name for name in self.files if name not in ("victim.py", "run.json", "__pycache__", "there", "cache")}
        if left and wanted_code != 137:
            found.append(f"files: {sorted(left)}")
        return found


def kill(folder: Path, command: str, phase: str | float, end: str) -> Ended:
    """Start a command on a terminal, wait for a phase of its target or so many seconds, and end it."""
    with tempfile.TemporaryDirectory(prefix="k-", dir="/tmp") as temporary:  # a short path, for sockets
        return _kill(folder, command, phase, end, Path(temporary))


def _kill(folder: Path, command: str, phase: str | float, end: str, temporary: Path) -> Ended:
    mark = str(folder)
    (folder / "victim.py").write_text(VICTIM)
    there = folder / "there"
    environment = {
        **os.environ,
        MARK: mark,
        "PYTHONPATH": OWN_CODE,
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(temporary),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "VICTIM_PHASE": phase if isinstance(phase, str) else "",
        "VICTIM_THERE": str(there),
        "TERM": "xterm-256color",
    }
    with _terminal() as (descriptor, said):
        running = subprocess.Popen(
            [sys.executable, "-m", "lrscout", COMMANDS[command][0], "-o", "run.json", *COMMANDS[command][1:]],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
        if isinstance(phase, str):
            deadline = monotonic() + 60
            while not there.exists() and running.poll() is None:
                if monotonic() > deadline:
                    running.kill()
                    raise TimeoutError(f"never came to {phase!r}: {''.join(said)}")
                sleep(0.01)
            sleep(0.05)
        else:
            sleep(phase)
        number, _ = ENDS[end]
        sent = monotonic()
        for again in range(2 if end.endswith("twice") else 1):
            with contextlib.suppress(ProcessLookupError):
                if number == signal.SIGINT:
                    os.killpg(running.pid, number)  # as a terminal does
                else:
                    running.send_signal(number)
            sleep(0.05 * again)
        try:
            code = running.wait(30)
        except subprocess.TimeoutExpired:
            running.kill()
            code = 1000
        took = monotonic() - sent
        left = alive(mark)
        while left and monotonic() < sent + max(took, GONE_SECONDS):
            sleep(0.02)
            left = alive(mark)
        for each in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(each.split()[0]), signal.SIGKILL)
    return Ended(
        exit_code=128 - code if code < 0 else code,
        text="".join(said),
        seconds=took,
        alive=left,
        temporary=sorted(each.name for each in temporary.iterdir() if not each.name.startswith("torchinductor")),
        files=sorted(each.name for each in folder.iterdir()),
        record=_record(folder / "run.json"),
    )


def _record(path: Path) -> str | None:
    """The status of a record, what is wrong with it, or None where there is none."""
    try:
        return load(path).status if path.exists() else None
    except RecordError as error:
        return str(error)


@contextlib.contextmanager
def _terminal() -> Iterator[tuple[int, list[str]]]:
    """The end of a terminal for a program, and what the program has written to it so far."""
    ours, theirs = pty.openpty()
    said: list[str] = []

    def read() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(ours, 4096):
                said.append(data.decode(errors="replace"))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield theirs, said
    finally:
        os.close(theirs)
        thread.join(2)
        os.close(ours)


def alive(mark: str) -> list[str]:
    """The numbers and command lines of the living processes that carry the mark."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found.append(f"{entry.name} {(entry / 'cmdline').read_text().replace(chr(0), ' ')[:150]}")
    return found
