"""The files of docs/ci.md work as they stand: this plays the part of the service that runs them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lrscout.cli import main

PAGE = (Path(__file__).parents[1] / "docs/ci.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
ACTION, USE, GITLAB = BLOCKS

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "lrscout").write_text(f'#!/bin/sh\nexec {sys.executable} -P -m lrscout "$@"\n')
    (programs / "lrscout").chmod(0o755)
    return tmp_path


def play(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a step as the service does, with its variables."""
    own = {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, **own, "PATH": path, **variables}
    words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)


def act(folder: Path, command: str) -> tuple[int, dict[str, str], str]:
    """Run the composite action: its exit code, its outputs and its summary."""
    inputs = {"command": command, "output": ACTION["inputs"]["output"]["default"]}
    (step,) = ACTION["runs"]["steps"]
    named = r"\$\{\{ inputs\.([\w-]+) \}\}"
    given = {name: re.sub(named, lambda m: inputs[m[1]], text) for name, text in step["env"].items()}
    files = {"GITHUB_OUTPUT": str(folder / "outputs"), "GITHUB_STEP_SUMMARY": str(folder / "summary")}
    done = play(step["run"], folder, GITHUB_ACTIONS="true", **files, **given)
    found = dict(line.split("=", 1) for line in (folder / "outputs").read_text().splitlines())
    wanted = {name: re.search(r"outputs\.([\w-]+) ", each["value"])[1] for name, each in ACTION["outputs"].items()}
    summary = (folder / "summary").read_text()
    return done.returncode, {name: found.get(theirs, "") for name, theirs in wanted.items()}, summary


def test_the_action_hands_on_the_rate_and_adds_a_summary(folder):
    code, found, summary = act(folder, USE[0]["with"]["command"].replace("2000", "400") + " --device cpu")
    assert code == 0
    assert 1e-4 < float(found["lr"]) < 1
    assert found["status"] == "ok"
    assert summary.startswith("## Suggested learning rate")
    assert (folder / "lrscout.json").is_file()


@pytest.mark.slow
def test_the_action_tells_of_checks_that_failed(folder):
    quick = "--device cpu --steps 60 --seeds 3 --lr 0.01 --lr-mode shared"
    schedules = "-s constant -s exponential:end_ratio=1e-9 --expect-best exponential"
    code, found, summary = act(folder, f"compare-schedulers tuning.py:build {quick} {schedules}")
    assert (code, found["checks"]) == (5, "failed")
    assert "**failed**" in summary


@pytest.mark.slow
def test_the_job_for_gitlab_runs(folder):
    (line,) = GITLAB["schedules"]["script"]
    quick = " --device cpu --steps 60 --seeds 3 --lr 0.01 --lr-mode shared"
    done = play(line + quick, folder, GITLAB_CI="true")
    assert done.returncode in (0, 5), done.stderr
    assert "section_start" in done.stderr
    assert (folder / GITLAB["schedules"]["artifacts"]["reports"]["junit"]).is_file()
