"""Whatever is typed or written is done or refused: by a message of ours, soon, within bounds.

An input that fails is told with its kind and its number, by which it can be tried again:
`FUZZ=1 FUZZ_FIRST=17 pytest tests/faults/test_fuzz.py -k schedule`. `make fuzz` tries 100,000.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
from inputs import ENDING, KINDS, RECIPE, Called, Input, Typed, loaded, made, many
from small_records import records
from test_damaged_records import MEGABYTES, grown_megabytes
from test_hostile_text import COLORS, is_legible

import lrscout
from lrscout.cli import main
from lrscout.errors import LrscoutError
from lrscout.processes import supervisor
from lrscout.records import to_json
from lrscout.report.terminal import printable_lines
from lrscout.tracebacks import BUG

SECONDS = 2.0  # of computing, until an answer
TRAINING_SECONDS = 10.0
HANGING_SECONDS = 60  # after which an input is stopped
CODES = (0, 1, 2, 3, 4, 5)
TINY = """
import torch
from torch import nn

TEXT, NUMBER, nothing = "text", 3, None

def build(batch_size=4, width=3):
    inputs = torch.randn(16, width)
    data = torch.utils.data.TensorDataset(inputs, inputs.sum(1, keepdim=True))
    loader = torch.utils.data.DataLoader(data, batch_size)
    return {"model": nn.Linear(width, 1), "train_loader": loader, "loss_fn": nn.MSELoss()}

class Made:
    def build(self, **more):
        return build(**more)

def metric(model, batch):
    return model(batch[0]).sum()

def halved(step, total, power=1.0):
    return 0.5 ** power

def stepped(optimizer, total_steps, size=5):
    return torch.optim.lr_scheduler.StepLR(optimizer, size)
"""
FIXED = {
    "tiny.py": TINY,
    "good.yaml": RECIPE,
    "good.json": to_json(records()["find-lr"]),
}


@dataclass(frozen=True, slots=True)
class Answer:
    code: int
    out: str
    err: str
    seconds: float


class Hanging(BaseException):
    """An input took too long."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the inputs are tried, and all that they may write to."""
    clean(tmp_path)
    pytest.importorskip("torch")  # so that no input has to wait for its import
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("lrscout.cli._loaded", loaded)
    for name, place in {"HOME": tmp_path, "XDG_CACHE_HOME": tmp_path / "cache"}.items():
        monkeypatch.setenv(name, str(place))
    return tmp_path


_PROTECTING: list[str] = []  # folders, while inputs are tried
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "os.chmod")


def _forbid(event: str, arguments: tuple[object, ...]) -> None:
    """Refuse what an input has no business to do: write elsewhere, or run anything that does something."""
    if not _PROTECTING:
        return
    if (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING) or event in _CHANGES:
        _forbid_change(arguments[0])
    elif event == "os.system":
        raise PermissionError(13, "forbidden by the test", arguments[0])
    elif event == "subprocess.Popen":
        _, words, *_ = arguments
        assert isinstance(words, (list, tuple))
        after = words.index(supervisor.__file__) + 2 if supervisor.__file__ in words else len(words)
        program = list(words[after:]) or [""]
        is_harmless = program[:3] in ENDING or program[0] in ("true", "false") or shutil.which(program[0]) is None
        if words[0] != sys.executable or not is_harmless:
            raise PermissionError(13, "forbidden by the test", str(words))


def _forbid_change(path: object) -> None:
    if isinstance(path, (str, bytes, os.PathLike)):
        place = os.path.abspath(os.fsdecode(path))
        if not place.startswith((*_PROTECTING, "/dev/", "/proc/self/")):
            raise PermissionError(13, "forbidden by the test", place)


@cache
def _watch() -> None:
    sys.addaudithook(_forbid)  # once: it cannot be removed again


@contextlib.contextmanager
def protected() -> Iterator[None]:
    _watch()
    _PROTECTING.append(tempfile.gettempdir())
    try:
        yield
    finally:
        _PROTECTING.clear()


def _hanging(number: int, frame: object) -> None:
    raise Hanging


@contextlib.contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _hanging)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def answer(tried: Input) -> Answer:
    """What is said to an input, in the current folder."""
    out, err = io.StringIO(), io.StringIO()
    began = time.process_time()
    with (
        protected(),
        no_longer_than(HANGING_SECONDS),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = typed(tried) if isinstance(tried, Typed) else called(tried)
    return Answer(code, out.getvalue(), err.getvalue(), time.process_time() - began)


def typed(tried: Typed) -> int:
    for name, content in tried.files.items():
        if content is None:
            Path(name).mkdir(exist_ok=True)
        else:
            Path(name).write_bytes(content)
    with mock.patch.dict(os.environ, tried.variables):
        return main(tried.arguments)


def called(tried: Called) -> int:
    """The exit code that the command would have."""
    try:
        getattr(lrscout, tried.function)(**tried.arguments)
    except LrscoutError as error:
        print(f"Error: {printable_lines(str(error))}", file=sys.stderr)
        return error.exit_code
    return 0


def clean(folder: Path) -> None:
    """Remove what an input has left."""
    for path in folder.iterdir():
        if path.name not in FIXED:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for name, text in FIXED.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != len(text):
            (folder / name).write_text(text, encoding="utf-8")
    (folder / "folder").mkdir()


def problems(kind: str, tried: Input) -> list[str]:
    """What is wrong with the answer to an input."""
    seconds = TRAINING_SECONDS if kind == "training" else SECONDS
    try:
        given = answer(tried)
    except (Exception, Hanging) as error:
        return ["".join(traceback.format_exception(error))]
    is_colored = isinstance(tried, Typed) and bool(tried.variables.get("FORCE_COLOR"))
    said = COLORS.sub("", given.err) if is_colored else given.err
    has_told = not given.code or getattr(tried, "told", "") in said
    is_users = given.code == 1 and "tiny.py" in said and BUG not in said  # an exception of the target's
    found = {
        f"exit code {given.code}": given.code not in CODES,
        f"it took {given.seconds:.1f} s": given.seconds > seconds,
        "control characters": not is_legible(given.out + given.err, is_colored),
        "a traceback": "Traceback" in said and not is_users,
        "called a bug": BUG in said,
        "no output": isinstance(tried, Typed) and not given.out + given.err,
        "no error": given.code in (1, 2, 3) and not is_users and not re.search("^Error: |^Usage: ", said, re.MULTILINE),
        "the file is not named": not has_told,
    }
    wrong = [name for name, is_so in found.items() if is_so]
    return [*wrong, ascii(given.out)[:2000], given.err[-4000:]] if wrong else []


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_input_gets_an_answer_of_ours(kind, folder):
    began = grown_megabytes()
    for number in many(kind):
        tried = made(kind, number)
        wrong = problems(kind, tried)
        assert not wrong, "\n".join([f"{kind} {number}: {tried!a:.3000}", *wrong])
        clean(folder)
    assert grown_megabytes() - began < MEGABYTES


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_is_made_again_from_its_number(kind):
    assert [shown(made(kind, number)) for number in range(5)] == [shown(made(kind, number)) for number in range(5)]


def shown(tried: Input) -> str:
    return re.sub(r" at 0x\w+", "", repr(tried))  # of functions


def test_an_input_can_do_no_harm(folder):
    with protected():
        Path("a").write_text("here")
        for forbidden in (
            lambda: Path("/new").write_text("elsewhere"),
            lambda: Path("/new").mkdir(),
            lambda: Path("/not-there").unlink(),
            lambda: os.system("true"),
            lambda: subprocess.run(["ls"]),
            lambda: subprocess.run([sys.executable, supervisor.__file__, "3", "ls"]),
        ):
            with pytest.raises(PermissionError, match="forbidden by the test"):
                forbidden()
    assert not Path("/new").exists()
