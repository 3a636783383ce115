"""The user's files survive a search in a program that would overwrite or delete them."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lrscout.processes.command import AttachedCommand
from lrscout.processes.put_back import put_back

SAVES = """
import os, pathlib, shutil, sys, threading, torch
w = torch.nn.Parameter(torch.ones(1))
optimizer = torch.optim.SGD([w], lr=0.1)
def step():
    w.sum().backward()
    optimizer.step()
step()
{saving}
print("saved", flush=True)
while True:
    step()
"""
THREADS = """
def write(name): open(name, 'wb').close()
threads = [threading.Thread(target=write, args=(f'shard-{i}.distcp',)) for i in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]"""
FAILS = """
try: os.rename('checkpoint-500', 'logs')
except OSError: pass
torch.save(w, 'last.pt')"""
WAYS = {
    "torch.save": "torch.save(w, 'last.pt')",
    "torch.save by keyword": "torch.save(obj=w, f='last.pt')",
    "a file object": "torch.save(w, open('last.pt', 'wb'))",
    "pathlib": "pathlib.Path('last.pt').write_bytes(b'garbage')",
    "a temporary file": "torch.save(w, 'last.tmp'); os.replace('last.tmp', 'last.pt'); open('last.tmp', 'w').close()",
    "rotation": "os.replace('last.pt', 'previous.pt'); torch.save(w, 'last.pt')",
    "removal": "os.remove('last.pt'); assert not os.path.exists('last.pt'); torch.save(w, 'last.pt')",
    "removal of a folder": "open('checkpoint-500/new', 'w').close(); shutil.rmtree('checkpoint-500')",
    "removal of what was overwritten": "torch.save(w, 'checkpoint-500/state.pt'); shutil.rmtree('checkpoint-500')",
    "a folder that moves": "os.rename('checkpoint-500', 'moved'); shutil.rmtree('moved')",
    "a folder that cannot move": FAILS,
    "a link": "torch.save(w, 'latest')",
    "a link that is set anew": "os.remove('latest'); os.symlink('previous.pt', 'latest')",
    "many threads": THREADS,
    "another folder": "os.chdir('logs'); torch.save(w, '../last.pt')",
    "safetensors": "import safetensors.torch as s; s.save_file({'w': w.detach()}, 'model.safetensors')",
}
DAYS = 1.1e9  # between the files of the user and those of a search, in seconds since the epoch

pytestmark = [
    pytest.mark.slow,  # every test starts programs that train
    pytest.mark.skipif(sys.platform != "linux", reason="commands are supervised on Linux"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the checkpoints of a training that took days."""
    names = ["last.pt", "previous.pt", "model.safetensors", "checkpoint-500/state.pt", "checkpoint-500/state.json"]
    for name in [*names, "logs/events", *(f"shard-{i}.distcp" for i in range(8))]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"days of work: {name}")
    (tmp_path / "latest").symlink_to("last.pt")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1e9, 1e9), follow_symlinks=False)
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    found = {
        str(path.relative_to(folder)): path.read_text(errors="replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return {**found, "latest": os.readlink(folder / "latest")}


def searched(folder: Path, saving: str, since: float | None = DAYS) -> None:
    """Step in a program that saves after its first step."""
    code = [sys.executable, "-c", SAVES.format(saving=saving)]
    with AttachedCommand(code, cwd=folder, environment={"OMP_NUM_THREADS": "1"}, since=since) as command:
        command.attach(keep=False)
        session = command.session()
        for _ in range(3):
            session.step()
        session.losses(wait=True)
    assert "saved" in command.output, command.output


@pytest.mark.parametrize("way", WAYS)
def test_what_a_program_overwrites_or_deletes_is_put_back(folder, way, caplog):
    if way == "safetensors":
        pytest.importorskip("safetensors")
    before = contents(folder)
    with caplog.at_level(logging.WARNING):
        searched(folder, WAYS[way])
    after = contents(folder)
    assert {name: after.get(name) for name in before} == before
    assert not (folder / ".lrscout-kept").exists()
    assert "files that were put back: " in caplog.text


def protected(folder: Path, notes: Path, saving: str) -> None:
    """Run a few lines under protection, without torch, and put back what they change."""
    code = (
        "import os, pathlib, sys; from lrscout.attached.protection import Protection;"
        f"Protection(sys.argv[1], os.getcwd(), {DAYS}); {saving}"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code, notes], cwd=folder, env=environment, check=True)
    put_back(notes)


def test_what_an_earlier_search_has_left_is_not_overwritten_nor_in_the_way(folder, tmp_path_factory):
    """One in a container that was killed: in the next one, the processes have the same pids."""
    names = "{os.getpid()}-1-last.pt", "{os.getpid()}-2-previous.pt"
    left = "os.mkdir('.lrscout-kept');" + "".join(
        f"pathlib.Path(f'.lrscout-kept/{name}').write_text('years of work');" for name in names
    )
    before = contents(folder)
    protected(
        folder, tmp_path_factory.mktemp("notes"), f"{left} open('last.pt', 'w').close(); os.remove('previous.pt')"
    )
    after = contents(folder)
    assert {name: after.get(name) for name in before} == before
    assert [after[name] for name in set(after) - set(before)] == ["years of work"] * 2


def test_a_file_with_the_longest_name_is_put_back(folder, tmp_path_factory):
    path = folder / ("x" * 252 + ".pt")
    path.write_text("days of work")
    os.utime(path, (1e9, 1e9))
    protected(folder, tmp_path_factory.mktemp("notes"), f"open('{path.name}', 'w').close()")
    assert path.read_text() == "days of work"


def test_what_is_new_stays_and_logs_are_written_on(folder):
    (folder / "log.txt").write_text("first\n")
    searched(folder, "torch.save(w, 'new.pt'); open('log.txt', 'a').write('second')")
    assert (folder / "new.pt").exists()
    assert (folder / "log.txt").read_text() == "first\nsecond"


def test_two_programs_at_a_time_do_not_put_back_what_the_other_has_saved(folder):
    before = contents(folder)
    code = [sys.executable, "-c", SAVES.format(saving=WAYS["torch.save"])]
    commands = []
    for _ in range(2):
        commands.append(AttachedCommand(code, cwd=folder, environment={"OMP_NUM_THREADS": "1"}, since=DAYS))
        commands[-1].attach(keep=False)
        session = commands[-1].session()
        for _ in range(2):
            session.step()
        session.losses(wait=True)
    for command in commands:
        command.close()
    assert contents(folder) == before


def test_files_go_back_when_lrscout_is_killed(folder):
    before = contents(folder)
    code = (
        "import sys, time; from lrscout.processes.command import AttachedCommand;"
        f"command = AttachedCommand([sys.executable, '-c', sys.argv[1]], since={DAYS}); command.attach(keep=False);"
        "session = command.session(); [session.step() for _ in range(3)]; session.losses(wait=True);"
        "print('saved', flush=True); time.sleep(100)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    argv = [sys.executable, "-c", code, SAVES.format(saving=WAYS["torch.save"])]
    with subprocess.Popen(argv, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "saved\n"
        assert contents(folder) != before
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while contents(folder) != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert contents(folder) == before


def test_a_real_training_overwrites_what_it_likes(folder):
    searched(folder, WAYS["torch.save"], since=None)
    assert torch.load(folder / "last.pt").item() < 1


def test_nothing_is_put_back_in_the_place_of_a_folder_or_from_another_file(tmp_path):
    mine, other = tmp_path / "1-1-mine.pt", tmp_path / "1-2-other.pt"
    mine.write_text("mine")
    other.write_text("other")
    (tmp_path / "mine.pt").mkdir()
    notes = [[str(tmp_path / "mine.pt"), str(mine), mine.stat().st_ino], [str(tmp_path / "other.pt"), str(other), 1]]
    (tmp_path / "kept.1").write_text("\n".join([*map(json.dumps, notes), '["/cut off']))
    assert put_back(tmp_path) == []
    assert mine.read_text() == "mine"
    assert not (tmp_path / "other.pt").exists()
