"""The output streams: what goes where, and how failures of streams are handled."""

import fcntl
import importlib
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
import traceback
from contextlib import suppress

import pytest

import lrscout
from lrscout.errors import LrscoutError
from lrscout.report.output import Output
from lrscout.report.progress import PlainProgress, sweep_facts
from lrscout.report.progress_line import progress_line
from lrscout.report.streams import write_aside
from lrscout.tracebacks import BUG, user_traceback


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def made(mode="human", results=None, messages=None, environ=None):
    results, messages = results or io.StringIO(), messages or io.StringIO()
    return Output(results, messages, mode=mode, environ=environ or {}), results, messages


def test_results_go_to_one_stream_and_messages_to_the_other():
    output, results, messages = made()
    output.result("table\n\n")
    output.note("by the way")
    output.warn("careful")
    assert results.getvalue() == "table\n"
    assert messages.getvalue() == "by the way\nWarning: careful\n"


def test_error_is_followed_by_its_hint():
    output, results, messages = made()
    output.error(LrscoutError("No batch.", hint="Give the loader some data."))
    output.error(LrscoutError("[/a/b] failed"))
    assert messages.getvalue() == "Error: No batch.\nGive the loader some data.\nError: [/a/b] failed\n"
    assert results.getvalue() == ""


def test_quiet_mode_keeps_results_warnings_and_errors():
    output, results, messages = made("quiet")
    output.note("by the way")
    with output.progress(2, "find-lr") as progress:
        progress.update(1, 1e-3, 2.0)
        progress.update(2, 1e-3, 2.0)
    output.warn("careful")
    output.error(LrscoutError("No."))
    output.result("3.2e-3")
    assert results.getvalue() == "3.2e-3\n"
    assert messages.getvalue() == "Warning: careful\nError: No.\n"


def test_json_mode_keeps_notes_and_progress_off_the_results():
    output, results, messages = made("json")
    output.note("by the way")
    with output.progress(1, "find-lr") as progress:
        progress.update(1, 1e-3, 2.0)
    assert results.getvalue() == ""
    assert messages.getvalue().startswith("by the way\nfind-lr  step 1/1")


def test_messages_are_colored_if_the_environment_asks_for_it():
    output, _, messages = made(environ={"FORCE_COLOR": "1"})
    output.error(LrscoutError("No."))
    assert messages.getvalue() == "\x1b[1;31mError:\x1b[0m No.\n"


@pytest.mark.parametrize(
    ("color", "environ", "colored"),
    [("always", {"NO_COLOR": "1"}, True), ("never", {"FORCE_COLOR": "1"}, False), ("auto", {"FORCE_COLOR": "1"}, True)],
)
def test_the_flag_decides_on_color_whatever_the_environment_says(color, environ, colored):
    results, messages = io.StringIO(), io.StringIO()
    output = Output(results, messages, color=color, environ=environ)
    output.warn("careful")
    assert ("\x1b[" in messages.getvalue(), output.results_style.color) == (colored, colored)


def test_characters_that_cannot_be_encoded_are_escaped():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    output, _, _ = made(results=stream, messages=stream)
    output.result("│ 3 ± 1\udc80")
    output.note("…")
    assert raw.getvalue() == b"\\u2502 3 \\xb1 1\\udc80\n\\u2026\n"


def test_broken_pipe_raises_for_results_and_not_for_messages():
    output, _, _ = made(results=Broken(), messages=Broken())
    output.note("nobody reads this")
    output.error(LrscoutError("nor this"))
    with output.progress(1, "find-lr") as progress:
        progress.update(1, 1e-3, 2.0)
    with pytest.raises(BrokenPipeError):
        output.result("table")


def test_missing_and_closed_streams_are_ignored():
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        output = Output(stream, stream, environ={})
        output.result("table")
        output.note("by the way")
        with output.progress(1, "find-lr") as progress:
            progress.update(1, 1e-3, 2.0)


def test_importing_output_imports_neither_rich_nor_plotext_nor_torch():
    code = "import sys, lrscout.report.output as o; print({'rich', 'plotext', 'torch'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


# ---------------------------------------------------------------- progress


def test_piped_progress_writes_a_line_for_every_tenth():
    output, _, messages = made(environ={"FORCE_COLOR": "1"})
    with output.progress(100, "find-lr") as progress:
        for step in range(1, 101):
            progress.update(step, 1.6e-4, 2.291)
    lines = messages.getvalue().splitlines()
    assert lines[3] == "find-lr  step 40/100  lr 1.6e-4  loss 2.291"
    assert len(lines) == 10
    assert "\x1b" not in messages.getvalue()
    assert "\r" not in messages.getvalue()


@pytest.mark.parametrize(("total", "count"), [(1, 1), (3, 3), (7, 7), (99, 10), (1000, 10)])
def test_plain_progress_writes_at_most_ten_lines_including_the_last_step(total, count):
    lines = []
    progress = PlainProgress(total, "find-lr", lines.append)
    for step in range(1, total + 1):
        progress.update(step, 1e-3, 1.0)
    assert len(lines) == count
    assert f"step {total}/{total} " in lines[-1]


def test_plain_progress_of_slow_steps_writes_every_half_minute():
    lines, now = [], [0.0]
    progress = PlainProgress(1000, "find-lr", lines.append, clock=lambda: now[0])
    for step in range(1, 13):
        now[0] += 10
        progress.update(step, 1e-3, 1.0)
    assert [line.split()[2] for line in lines] == ["3/1000", "6/1000", "9/1000", "12/1000"]


def test_plain_progress_follows_a_changed_total():
    lines = []
    progress = PlainProgress(10, "find-lr", lines.append)
    for step in range(1, 11):
        progress.update(step, 1e-3, 1.0)
    progress.expect(40)
    for step in range(11, 41):
        progress.update(step, 1e-3, 1.0)
    assert [line.split()[2] for line in lines][9:] == ["10/10", *(f"{n}/40" for n in range(12, 41, 4))]


def test_steps_beyond_an_estimated_total_are_shown_without_it():
    lines, now = [], [0.0]
    progress = PlainProgress(2, "find-lr", lines.append, clock=lambda: now[0])
    for step in range(1, 1500):
        now[0] += 1 / 16
        progress.update(step, 1e-3, 1.0)
    assert [line.split("  ")[1] for line in lines] == ["step 1/2", "step 2/2", "step 482", "step 962", "step 1442"]
    assert progress_line((4, 2), "find-lr", ("lr 1.0e-3",), 0.0, 40, True) == "find-lr  lr 1.0e-3"


def test_progress_line_drops_parts_until_it_fits():
    for width in range(130):
        for left in (None, 5.0, 7200.0):
            line = progress_line((40, 100), "find-lr", sweep_facts(1.6e-4, 2.291), left, width, True)
            assert len(line) <= width
    wide = progress_line((40, 100), "find-lr", sweep_facts(1.6e-4, 2.291), 5.0, 100, True)
    assert re.fullmatch(r"find-lr  ━{12}─{18}   40/100  lr 1\.6e-4  loss 2\.291  0:05 left", wide)
    assert (
        progress_line((40, 100), "find-lr", sweep_facts(1.6e-4, 2.291), 5.0, 30, True)
        == " 40/100  lr 1.6e-4  loss 2.291"
    )
    assert progress_line((1, 2), "find-lr", sweep_facts(1e-3, float("nan")), None, 100, False).isascii()


def test_progress_without_a_total_shows_every_step():
    lines = []
    progress = PlainProgress(None, "find-batch-size", lines.append, lambda size: (f"size {size}",))
    for step, size in ((1, 4), (1, 4), (2, 16), (3, 412)):
        progress.update(step, size)
    assert lines == [f"find-batch-size  size {size}" for size in (4, 16, 412)]
    assert progress_line((3, None), "find-batch-size", ("size 412", "fits"), None, 40, True).startswith("find-batch")
    assert progress_line((3, None), "find-batch-size", ("size 412", "fits"), None, 12, True) == "size 412"


@pytest.fixture
def clock(monkeypatch):
    """The time that progress goes by, as a list of one number."""
    now = [1000.0]
    monkeypatch.setattr("lrscout.report.progress.monotonic", lambda: now[0])
    return now


def screen(columns, act):
    """What `act` writes to a terminal of that many columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    chunks = []

    def read():
        while True:
            try:
                chunk = os.read(leader, 65536)
            except OSError:  # the other end is closed
                return
            if not chunk:
                return
            chunks.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(follower, "w", encoding="utf-8") as stream:
        act(Output(io.StringIO(), stream, environ={"TERM": "xterm"}))
    reader.join(timeout=10)
    os.close(leader)
    return b"".join(chunks).decode()


@pytest.mark.parametrize("columns", [30, 80])
def test_live_progress_redraws_one_line_and_removes_it(columns, clock):
    def act(output):
        with output.progress(3, "find-lr") as progress:
            progress.update(1, 1.6e-4, 2.291)
            output.warn("careful")
            clock[0] += 0.2
            progress.update(2, 3.2e-3, 0.412)

    text = screen(columns, act)
    assert "lr 1.6e-4" in text
    assert "lr 3.2e-3" in text
    before, warned, _ = text.partition("Warning:\x1b[0m careful\r\n")
    assert warned
    assert re.search(r"lr 1\.6e-4[^\n]*\x1b\[2K[^\n]*$", before)  # the line was wiped, and stands below it again
    assert text.endswith("\x1b[2K")  # the line is wiped
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is back
    frames = re.split(r"[\r\n]|\x1b\[[0-9;?]*[A-Za-z]", text)
    assert max(map(len, frames)) < columns


def test_live_progress_leaves_the_terminal_whole_after_an_exception():
    def act(output):
        with suppress(ZeroDivisionError), output.progress(3, "find-lr") as progress:
            progress.update(1, 1.6e-4, 2.291)
            raise ZeroDivisionError
        output.note("afterwards")

    text = screen(80, act)
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")
    assert text.endswith("afterwards\r\n")


def test_live_progress_survives_a_broken_terminal():
    class BrokenTty(Broken):
        encoding = "utf-8"

        def isatty(self):
            return True

    output, _, _ = made(messages=BrokenTty())
    with output.progress(2, "find-lr") as progress:
        progress.update(1, 1e-3, 2.0)


def test_live_progress_writes_ascii_to_a_terminal_without_unicode():
    class Old(Tty):
        encoding = "ascii"

    output, _, messages = made(messages=Old())
    with output.progress(2, "find-lr") as progress:
        progress.update(1, 1e-3, 2.0)
    assert "##" in messages.getvalue()
    assert messages.getvalue().isascii()


@pytest.mark.parametrize(("stream", "lines"), [(Tty, 1), (io.StringIO, 0)])
def test_nothing_is_made_or_written_between_redraws(clock, stream, lines):
    told = []
    output, _, messages = made(messages=stream())
    with output.progress(10**6, "find-lr", lambda *values: told.append(values) or ("fact",)) as progress:
        progress.update(1, 1e-3, 2.0)
        written = messages.getvalue()
        for step in range(2, 2000):
            progress.update(step, 1e-3, 2.0)
        assert messages.getvalue() == written
    assert len(told) == lines


def test_redraws_are_ten_a_second(clock):
    output, _, messages = made(messages=Tty())
    with output.progress(1000, "find-lr") as progress:
        for step in range(1, 1001):
            clock[0] += 1 / 64
            progress.update(step, 1e-3, 2.0)
        drawn = messages.getvalue().count("lr 1.0e-3")
    assert drawn == 1 + 999 // 7  # the first of these steps that is a tenth of a second later


def test_the_time_left_is_what_the_steps_after_the_first_one_say(clock):
    output, _, messages = made(messages=Tty())
    with output.progress(101, "find-lr") as progress:
        clock[0] += 30  # the import, and a first step that compiles
        progress.update(1, 1e-3, 2.0)
        clock[0] += 1.5
        progress.update(26, 1e-3, 2.0)
        assert " left" not in messages.getvalue()  # nobody can tell yet
        clock[0] += 1.5
        progress.update(51, 1e-3, 2.0)
        assert "0:03 left" in messages.getvalue()
        progress.phase("fine sweep")  # one estimate over all phases
        progress.expect(201)
        progress.update(51, 1e-3, 2.0)
        clock[0] += 1
        progress.update(51, 1e-3, 2.0)
    assert "0:12 left" in messages.getvalue()


def waited_for(text, messages):
    deadline = time.monotonic() + 5
    while text not in messages.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert text in messages.getvalue()


def test_the_clock_of_a_phase_moves_by_itself_until_the_first_step(clock, monkeypatch):
    monkeypatch.setattr("lrscout.report.progress.CLOCK_SECONDS", 0.01)
    output, _, messages = made(messages=Tty())
    with output.progress(10, "find-lr") as progress:
        progress.phase("importing torch")
        assert "importing torch  0:00" in messages.getvalue()
        clock[0] += 7.2
        waited_for("importing torch  0:07", messages)
        progress.update(1, 1e-3, 2.0)
        assert "importing torch" in messages.getvalue().rpartition("\r")[2]  # the label of its steps
        clock[0] += 9
        assert threading.active_count() == 1
        assert "0:16" not in messages.getvalue()


def test_a_log_tells_a_phase_that_takes_long_once(monkeypatch):
    monkeypatch.setattr("lrscout.report.progress.TELLING_SECONDS", 0.02)
    output, _, messages = made()
    with output.progress(10, "find-lr") as progress:
        progress.phase("importing torch")
        waited_for("find-lr  importing torch\n", messages)
        progress.phase("quick")
        progress.phase("coarse sweep")
        time.sleep(0.1)
        progress.update(1, 1e-3, 2.0)
    told = messages.getvalue().splitlines()
    assert told == [
        "find-lr  importing torch",
        "find-lr  coarse sweep",
        "find-lr  coarse sweep  step 1/10  lr 1.0e-3  loss 2.000",
    ]


def test_a_line_from_another_thread_passes_what_is_not_yet_sent(tmp_path):
    with (tmp_path / "log").open("w", encoding="utf-8") as stream:
        stream.write("half a ")
        write_aside(stream, "aside\n")
        stream.write("line\n")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "aside\nhalf a line\n"


def test_no_clock_runs_in_a_fork_nor_while_it_is_made(monkeypatch):
    monkeypatch.setattr("lrscout.report.progress.CLOCK_SECONDS", 0.001)
    output, _, _ = made(messages=Tty())
    with output.progress(10, "find-lr") as progress:
        progress.phase("building")
        for _ in range(50):
            pid = os.fork()
            if pid == 0:  # its only thread, which no lock may hold up
                output.note("in the child")
                progress.phase("in the child")
                progress.update(1, 1e-3, 2.0)
                os._exit(0 if threading.active_count() == 1 else 1)
            assert os.waitpid(pid, 0)[1] == 0
        assert threading.active_count() == 2  # the clock runs on in the parent
    assert threading.active_count() == 1


# ---------------------------------------------------------------- the user's tracebacks


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def write(source, name="their_code"):
        sys.modules.pop(name, None)
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return name

    return write


def through_lrscout(function, *args):
    """Call the function from code that Python takes for lrscout's, and return what it raises."""
    path = os.path.join(os.path.dirname(lrscout.__file__), "engine", "session.py")
    names = {}
    exec(compile("def call(function, *args):\n    return function(*args)\n", path, "exec"), names)
    with pytest.raises(Exception) as caught:
        names["call"](function, *args)
    error = caught.value
    error.__traceback__ = error.__traceback__.tb_next  # this file's frame is not the command line's
    return error


def test_a_traceback_leaves_out_what_stands_between_two_frames_of_lrscouts(user_module):
    def wrapped():  # as torch calls a module of ours, which calls the user's step
        error = through_lrscout(importlib.import_module(user_module("def step():\n    raise ValueError('x')\n")).step)
        raise error.with_traceback(error.__traceback__)

    wrapped.__code__ = wrapped.__code__.replace(co_filename="/x/site-packages/torch/module.py")
    text = user_traceback(through_lrscout(wrapped))
    assert "torch/module.py" not in text
    assert text.splitlines()[1].endswith("in step")


def test_traceback_shows_the_users_frames_only(user_module):
    name = user_module("def build():\n    return 1 / 0\n")
    text = user_traceback(through_lrscout(importlib.import_module(name).build))
    assert "their_code.py" in text
    assert "return 1 / 0" in text
    assert "session.py" not in text
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("ZeroDivisionError: division by zero")
    assert BUG not in text


def test_traceback_of_a_failing_import_hides_importlib(user_module):
    name = user_module("import no_such_module_anywhere\n")
    text = user_traceback(through_lrscout(importlib.import_module, name))
    assert "their_code.py" in text
    assert "importlib" not in text
    assert text.endswith("No module named 'no_such_module_anywhere'")


def test_syntax_error_shows_its_place_without_an_empty_traceback(user_module):
    name = user_module("def build(:\n    pass\n")
    text = user_traceback(through_lrscout(importlib.import_module, name))
    assert re.match(r'  File ".*their_code.py", line 1\n    def build\(:\n', text)
    assert "Traceback" not in text
    assert BUG not in text


def test_causes_contexts_notes_and_groups_are_cut_too(user_module):
    name = user_module(
        "def inner(call):\n"
        "    call(int, 'x')\n"
        "def build(call):\n"
        "    try:\n"
        "        inner(call)\n"
        "    except ValueError as error:\n"
        "        error.add_note('a note')\n"
        "        raise ExceptionGroup('both', [error, KeyError('k')]) from error\n"
    )
    path = os.path.join(os.path.dirname(lrscout.__file__), "engine", "deep.py")
    names = {}
    exec(compile("def call(f, *args):\n    return f(*args)\n", path, "exec"), names)
    error = through_lrscout(importlib.import_module(name).build, names["call"])
    assert "deep.py" in "".join(traceback.format_exception(error))
    text = user_traceback(error)
    assert "deep.py" not in text
    assert "direct cause" in text
    assert "a note" in text
    assert "KeyError" in text
    assert text.count("in inner") == 2  # as the cause, and in the group


def test_own_bug_keeps_every_frame_and_says_so():
    text = user_traceback(through_lrscout(int, "x"))
    assert "session.py" in text
    assert text.endswith(BUG)


def test_bug_inside_the_standard_library_called_by_lrscout_is_ours_too():
    import json

    text = user_traceback(through_lrscout(json.loads, "{"))
    assert "session.py" in text
    assert text.endswith(BUG)


def test_user_error_goes_to_the_messages(user_module):
    output, results, messages = made()
    name = user_module("def build():\n    raise RuntimeError('[red]boom[/]')\n")
    output.user_error(through_lrscout(importlib.import_module(name).build))
    assert results.getvalue() == ""
    assert messages.getvalue().endswith("RuntimeError: [red]boom[/]\n")
