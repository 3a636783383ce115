"""What a stream can show."""

import io
import os
import pty

import pytest

from lrscout.report.terminal import Style, detect, printable, trim


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def encoded(encoding):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def test_pipe_is_a_hundred_columns_without_color_or_animation():
    assert detect(io.StringIO(), {}) == Style(width=100, color=False, unicode=True, live=False)


def test_terminal_gets_color_and_animation():
    style = detect(Tty(), {"TERM": "xterm"})
    assert style.color
    assert style.live


def test_dumb_terminal_has_a_width_but_neither_color_nor_animation():
    assert detect(Tty(), {"TERM": "dumb"}) == Style(width=80, color=False, unicode=True, live=False)


@pytest.mark.parametrize(
    ("environ", "unicode"),
    [
        ({}, True),
        ({"LC_ALL": "C"}, False),
        ({"LC_ALL": "POSIX", "LANG": "de_DE.UTF-8"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),  # LC_CTYPE is Python's own
        ({"LANG": "C.UTF-8"}, True),
        ({"LC_CTYPE": "C.UTF-8"}, True),
        ({"LC_ALL": "C", "PYTHONIOENCODING": "utf-8"}, True),
    ],
)
def test_the_plain_locale_asks_for_ascii(environ, unicode):
    assert detect(io.StringIO(), environ).unicode == unicode


@pytest.mark.parametrize(
    ("width", "environ", "expected"),
    [
        (120, {"COLUMNS": "90"}, 120),
        (None, {"COLUMNS": "90"}, 90),
        (None, {"COLUMNS": "0"}, 100),
        (None, {"COLUMNS": "-5"}, 100),
        (None, {"COLUMNS": "wide"}, 100),
        (None, {"COLUMNS": "10"}, 24),
        (10, {}, 24),
    ],
)
def test_width_is_the_given_one_then_columns_and_never_below_24(width, environ, expected):
    assert detect(io.StringIO(), environ, width).width == expected


def test_terminal_of_unknown_size_has_eighty_columns():
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        assert detect(stream, {}).width == 80
    os.close(leader)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"CLICOLOR": "0"}, False),
        ({"CLICOLOR": "0", "FORCE_COLOR": "1"}, True),
        ({"CLICOLOR": "0", "FORCE_COLOR": "0"}, False),
        ({"CLICOLOR": "0", "CLICOLOR_FORCE": "false"}, False),
    ],
)
def test_environment_takes_precedence_for_color(environ, expected):
    assert detect(Tty(), environ).color is expected


@pytest.mark.parametrize("name", ["FORCE_COLOR", "CLICOLOR_FORCE"])
def test_forced_color_in_a_pipe_has_no_animation(name):
    style = detect(io.StringIO(), {name: "1"})
    assert style.color
    assert not style.live


@pytest.mark.parametrize(("value", "live"), [("true", False), ("1", False), ("false", True), ("", True)])
def test_nothing_is_animated_in_ci(value, live):
    assert detect(Tty(), {"CI": value}).live is live


@pytest.mark.parametrize(
    ("encoding", "unicode"), [("utf-8", True), ("ascii", False), ("cp1252", False), ("cp437", False)]
)
def test_box_characters_need_an_encoding_that_has_them(encoding, unicode):
    assert detect(encoded(encoding), {}).unicode is unicode


@pytest.mark.parametrize(
    ("rows", "stacked", "height"), [(24, 1, 8), (40, 1, 11), (60, 2, 8), (90, 2, 13), (None, 2, 20)]
)
def test_plots_take_a_third_of_the_window_but_enough_to_be_read(rows, stacked, height):
    style = Style(width=80, color=False, unicode=True, live=True, rows=rows)
    assert style.plot_height(20, stacked) == height


def test_missing_or_closed_stream_is_a_pipe():
    closed = io.StringIO()
    closed.close()
    assert detect(None, {}) == detect(closed, {}) == detect(io.StringIO(), {})


def test_trim_drops_spaces_at_the_end_and_keeps_the_reset():
    assert trim("a \x1b[1mb  \x1b[0m  \nc  ") == "a \x1b[1mb\x1b[0m\nc"


def test_printable_escapes_control_characters():
    assert printable("a\x1b[31mb\nç") == "a\\x1b[31mb\\nç"
