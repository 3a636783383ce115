"""What the shell completes, through typer's protocol of environment variables."""

import os
import subprocess
import sys

import pytest

from lrscout.commands.completion import COMPLETERS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("1 / 0  # never run\ndef build(): ...\ndef _own(): ...\nclass Task: ...\n")
    (tmp_path / "lrscout.yaml").write_text("version: 1\ntargets:\n  small: {target: 'train:build'}\n")
    (tmp_path / "run.json").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "sub").mkdir()
    return tmp_path


def completed(line):
    """What a shell offers after a line, which is free of torch."""
    words = f"lrscout {line}".split(" ")
    code = (
        "import sys; from lrscout.cli import main\n"
        "try: main()\nfinally: print('HEAVY', sorted({'torch', 'rich', 'plotext'} & set(sys.modules)), file=sys.stderr)"
    )
    protocol = {
        "_LRSCOUT_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **protocol})
    assert done.stderr == "HEAVY []\n"
    return done.stdout.split()


def test_the_shell_completes_a_schedule_without_torch(folder):
    assert completed("compare-schedulers train:build -s co") == ["constant", "cosine", "cosine-restarts"]
    assert completed("find-lr --rule s") == ["scout", "steepest", "slide"]


@pytest.mark.parametrize(
    ("name", "typed", "offered"),
    [
        ("schedules", "t", ["torch:"]),
        ("schedules", "wsd:warmup=0.1,mi", ["wsd:warmup=0.1,min_ratio="]),
        ("schedules", "wsd:warmup=0.1+", ["wsd:warmup=0.1+swa", "wsd:warmup=0.1+swa:start="]),
        ("schedules", "cosine+swa:", ["cosine+swa:start="]),
        ("optimizer", "adam", ["adam", "adamw", "adamax"]),
        ("device", "c", ["cpu", "cuda", "cuda:0"]),
        ("target", "s", ["small"]),
        ("target", "tr", ["train.py:build", "train.py:Task"]),
        ("target", "train.py:b", ["train.py:build"]),
        ("recipe", "", ["lrscout.yaml", "sub/"]),
        ("record", "r", ["run.json"]),
        ("record", "nowhere/", []),
    ],
)
def test_each_is_completed_to_what_there_is(folder, name, typed, offered):
    assert COMPLETERS[name](typed) == offered


def test_a_broken_project_file_is_no_hindrance(folder):
    (folder / "lrscout.yaml").write_text("version: [")
    assert COMPLETERS["target"]("train.py:T") == ["train.py:Task"]
