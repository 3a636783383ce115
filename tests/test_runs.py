"""`lrscout runs`: the earlier runs as a table."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "faults"))
from small_records import records, with_texts
from test_hostile_text import ALL_AT_ONCE, is_legible, runs_commands

from lrscout.cli import main
from lrscout.records import save

RECORDS = records()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "lrscout").mkdir()
    return tmp_path / "lrscout"


def keep(cache: Path, name: str, day: int, id: str, record=None) -> Path:
    record = record or RECORDS[name]
    path = cache / f"202603{day:02}T140533-{record.command}-a-{id}.json"
    save(record, path)
    return path


def lrscout(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["runs", *arguments])
    return code, out.getvalue(), err.getvalue()


def ids(*arguments: str) -> list[str]:
    code, out, err = lrscout(*arguments, "--json")
    assert code == 0, err
    return [entry["id"] for entry in json.loads(out)]


@pytest.fixture
def three(cache):
    keep(cache, "find-lr", 1, "aaaa1111")
    keep(cache, "find-batch-size", 3, "cccc3333")
    keep(cache, "failed", 2, "bbbb2222")


@pytest.mark.usefixtures("three")
def test_the_newest_run_comes_first_with_its_answer_and_status():
    _, out, _ = lrscout()
    rows = [line.split() for line in out.splitlines()[2:]]
    assert rows == [
        ["cccc3333", "2026-03-03", "14:05:33", "find-batch-size", "train.py:build", "16", "ok"],
        ["bbbb2222", "2026-03-02", "14:05:33", "run", "python", "train.py", "-", "failed"],
        ["aaaa1111", "2026-03-01", "14:05:33", "find-lr", "train.py:build", "0.001,", "0.0001", "ok"],
    ]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--command", "find-lr"], ["aaaa1111"]),
        (["--status", "failed"], ["bbbb2222"]),
        (["--target", ":build"], ["cccc3333", "aaaa1111"]),
        (["-n", "2"], ["cccc3333", "bbbb2222"]),
        (["--target", "nothing"], []),
    ],
)
def test_filters_choose_runs(arguments, found):
    assert ids(*arguments) == found


@pytest.mark.parametrize(("flag", "hint"), [("--command", "'find-lr'"), ("--status", "Available: ok")])
def test_a_filter_with_an_unknown_value_lists_the_known_ones(flag, hint):
    code, _, err = lrscout(flag, "find-ls")
    assert code == 2
    assert hint in err


def test_damaged_records_are_listed_as_such(cache):
    keep(cache, "find-lr", 1, "aaaa1111").write_text('{"half')
    contradictory = dataclasses.replace(RECORDS["run"].result, points=())
    keep(cache, "run", 2, "bbbb2222", dataclasses.replace(RECORDS["run"], result=contradictory))
    (cache / "20260303T140533-run-a-cccc3333.json").mkdir()
    code, out, _ = lrscout("--json", "--status", "damaged")
    assert code == 0
    found = json.loads(out)
    assert [entry["id"] for entry in found] == ["cccc3333", "aaaa1111"]
    assert "Is a directory" in found[0]["problem"]
    assert "not an lrscout record" in found[1]["problem"]


def test_without_any_record_it_says_so():
    code, out, err = lrscout()
    assert (code, out) == (0, "")
    assert "No records in" in err


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_fits_the_width(cache, width):
    for day, name in enumerate(RECORDS, 1):
        record = dataclasses.replace(RECORDS[name], target={"path": "a/very/long/path/" * 9 + "train.py:build"})
        keep(cache, name, day, f"aaaa{day:04}", record)
    _, out, _ = lrscout("--width", str(width))
    lines = out.splitlines()
    assert len(lines) == 2 + len(RECORDS)
    assert max(map(len, lines)) <= width
    assert "build" in out


def test_no_text_of_a_record_reaches_the_terminal_unescaped(cache, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for day, name in enumerate(RECORDS, 1):
        keep(cache, name, day, f"aaaa{day:04}", with_texts(RECORDS[name], lambda text: ALL_AT_ONCE))
    for arguments in ([], ["--json"]):
        code, out, err = lrscout(*arguments)
        assert code == 0
        assert out
        assert is_legible(out + err)
        assert not runs_commands(out + err)


def test_two_hundred_runs_are_listed_in_a_second_without_torch(cache):
    for number in range(200):
        name = list(RECORDS)[number % len(RECORDS)]
        keep(cache, name, number % 28 + 1, f"{number:08}")
    code = "import sys; from lrscout.cli import main; main(['runs', '-n', '500']); print('torch' in sys.modules)"
    began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began < 2.0  # half a second, of a busy machine too
    assert done.stdout.endswith("False\n")
    assert len(done.stdout.splitlines()) == 203
