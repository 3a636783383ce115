"""Checkpoints of earlier trainings survive a search in the program that would overwrite them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch

from lrscout.processes.command import AttachedCommand
from lrscout.processes.put_back import put_back

SAVES = """
import os, pathlib, shutil, sys, torch
w = torch.nn.Parameter(torch.ones(1))
optimizer = torch.optim.SGD([w], lr=0.1)
def step():
    w.sum().backward()
    optimizer.step()
step()
{saving}
while True:
    step()
"""
WAYS = {
    "torch.save": "torch.save(w, 'last.pt')",
    "a file object": "torch.save(w, open('last.pt', 'wb'))",
    "pathlib": "pathlib.Path('last.pt').write_bytes(b'garbage')",
    "a temporary file": "torch.save(w, 'last.tmp'); os.replace('last.tmp', 'last.pt')",
    "rotation": "os.replace('last.pt', 'previous.pt'); torch.save(w, 'last.pt')",
    "removal": "os.remove('last.pt'); assert not os.path.exists('last.pt'); torch.save(w, 'last.pt')",
    "removal of a folder": "shutil.rmtree('checkpoint-500'); torch.save(w, 'last.pt')",
    "safetensors": "import safetensors.torch as s; step(); s.save_file({'w': w.detach()}, 'model.safetensors')",
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="commands are supervised on Linux")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the checkpoints of a training that took days."""
    (tmp_path / "checkpoint-500").mkdir()
    for name in ("last.pt", "previous.pt", "model.safetensors", "checkpoint-500/state.pt"):
        (tmp_path / name).write_text(f"days of work: {name}")
        os.utime(tmp_path / name, (1e9, 1e9))
    os.utime(tmp_path / "checkpoint-500", (1e9, 1e9))
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.*")) if path.is_file()}


def searched(folder: Path, saving: str, since: float | None = 1.1e9) -> list[str]:
    """The lines of a program that saves after its first step."""
    lines: list[str] = []
    code = [sys.executable, "-c", SAVES.format(saving=saving)]
    with AttachedCommand(
        code, cwd=folder, environment={"OMP_NUM_THREADS": "1"}, on_output=lines.append, since=since
    ) as c:
        c.attach(keep=False)
        session = c.session()
        for _ in range(3):
            session.step()
        session.losses(wait=True)
    return lines


@pytest.mark.parametrize("way", WAYS)
def test_what_a_program_saves_over_is_put_back(folder, way):
    if way == "safetensors":
        pytest.importorskip("safetensors")
    before = contents(folder)
    lines = searched(folder, WAYS[way])
    assert contents(folder) == before
    assert any(line.startswith("lrscout: put back ") for line in lines)


def test_new_checkpoints_stay_and_logs_are_written_on(folder):
    (folder / "log.txt").write_text("first\n")
    searched(folder, "torch.save(w, 'new.pt'); open('log.txt', 'a').write('second')")
    assert (folder / "new.pt").exists()
    assert (folder / "log.txt").read_text() == "first\nsecond"


def test_two_programs_at_a_time_do_not_put_back_what_the_other_has_saved(folder):
    before = contents(folder)
    saving = WAYS["torch.save"]
    code = [sys.executable, "-c", SAVES.format(saving=saving)]
    commands = []
    for _ in range(2):
        commands.append(AttachedCommand(code, cwd=folder, environment={"OMP_NUM_THREADS": "1"}, since=1.1e9))
        commands[-1].attach(keep=False)
        session = commands[-1].session()
        for _ in range(2):
            session.step()
        session.losses(wait=True)
    for command in commands:
        command.close()
    assert contents(folder) == before


def test_a_real_training_overwrites_what_it_likes(folder):
    searched(folder, WAYS["torch.save"], since=None)
    assert torch.load(folder / "last.pt").item() < 1


def test_notes_that_cannot_be_read_do_not_keep_others_from_being_followed(tmp_path):
    aside = tmp_path / "a.pt.before-lrscout"
    aside.write_text("mine")
    (tmp_path / "aside.1").write_text(json.dumps([str(tmp_path / "a.pt"), str(aside)]) + '\n["/cut off\n')
    assert put_back(tmp_path) == [str(tmp_path / "a.pt")]
    assert (tmp_path / "a.pt").read_text() == "mine"
