"""The output of `lrscout schedules` and `lrscout preview`."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from lrscout.cli import main
from lrscout.report.axes import step_axis
from lrscout.report.schedules import list_schedules, plot_schedules
from lrscout.report.terminal import Style
from lrscout.schedules import SCHEDULES, parse_schedule, schedule_parameters

PLAIN = Style(width=80, color=False, unicode=True, live=False)


def plot(*texts, total=200, width=80, **style):
    curves = {t: [(float(s), parse_schedule(t)(s, total)) for s in range(total)] for t in texts}
    return plot_schedules(
        curves, total, Style(**{"width": width, "color": False, "unicode": True, "live": False, **style})
    )


def canvas(text):
    """The rows between the frame's left and right side, the top one first."""
    return [re.split("[│┤]", line)[1] for line in text.split("\n")[1:] if line.endswith("│")]


@pytest.fixture
def lrscout(capfd):
    def run(*arguments):
        capfd.readouterr()
        code = main(arguments)
        return (code, *capfd.readouterr())

    return run


def test_a_curve_is_drawn_at_its_values():
    rows = canvas(plot("linear"))
    last = len(rows) - 1
    columns = len(rows[0])
    for row, text in enumerate(rows):
        for column in (m.start() for m in re.finditer(r"\*", text)):
            assert abs((1 - row / last) - (1 - column / columns)) < 1.2 / last


def test_each_schedule_has_its_own_symbol_in_the_legend():
    text = plot("constant", "linear", "cosine", "rex")
    assert text.split("\n")[-1].split() == ["*", "constant", "o", "linear", "+", "cosine", "x", "rex"]
    assert {"*", "o", "+", "x"} <= set("".join(canvas(text)))


def test_overlapping_curves_are_both_visible():
    top = canvas(plot("constant", "wsd"))[0]
    assert top.startswith("*o*o*o")
    assert top.rstrip().endswith("****")


def test_a_jump_is_drawn_as_a_line():
    rows = canvas(plot("step:size=0.5"))
    column = rows[0].rindex("*")
    assert all(row[column] == "*" for row in rows[:-2])


def test_a_short_run_fills_the_plot():
    rows = canvas(plot("linear", total=3))
    assert all(any(row[column] == "*" for row in rows) for column in range(len(rows[0])))
    assert set(canvas(plot("constant", total=1))[0]) == {"*"}


@pytest.mark.parametrize("width", [24, 40, 80, 200])
def test_the_plot_and_the_list_fit_the_width(width):
    text = plot("constant", "linear", "one-cycle:pct_start=0.2", "wsd", width=width)
    lines = [*text.split("\n"), *list_schedules(Style(max(width, 40), False, True, False)).split("\n")]
    assert max(map(len, lines)) <= max(width, 40)


def test_a_plot_without_unicode_is_ascii():
    assert plot("cosine", "wsd", unicode=False).isascii()


def test_color_only_adds_codes():
    assert re.sub(r"\x1b\[[0-9;]*m", "", plot("cosine", "wsd", color=True)) == plot("cosine", "wsd")
    colored = Style(80, True, True, False)
    assert re.sub(r"\x1b\[[0-9;]*m", "", list_schedules(colored)) == list_schedules(PLAIN)


@pytest.mark.parametrize(
    ("total", "columns", "labels"),
    [
        (1000, 70, ["0", "200", "400", "600", "800", "1000"]),
        (1, 30, ["0", "1"]),
        (7, 30, ["0", "5"]),
        (1_000_000, 20, ["0", "500000", "1000000"]),
    ],
)
def test_the_step_axis_has_whole_round_numbers(total, columns, labels):
    assert [label for _, label in step_axis(total, columns).ticks] == labels


def test_the_list_names_every_schedule_with_its_parameters_and_their_defaults():
    text = list_schedules(PLAIN)
    for name in SCHEDULES:
        assert re.search(rf"^{name} ", text, re.MULTILINE)
    assert "  milestones=[0.5,0.75]" in text
    assert "  three_phase=false" in text
    assert text.count("warmup=0 ") == 1  # what all share stands there once


def test_schedules_json_is_one_document(lrscout):
    code, out, err = lrscout("schedules", "--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert [each["name"] for each in document["schedules"]] == list(SCHEDULES)
    wsd = next(each for each in document["schedules"] if each["name"] == "wsd")
    assert wsd["parameters"][0] == {
        "name": "decay",
        "type": "a whole number of steps or a fraction below 1",
        "default": 0.2,
    }
    assert len(wsd["parameters"]) == len(schedule_parameters("wsd"))
    (swa,) = document["suffixes"]
    assert (swa["name"], [each["name"] for each in swa["parameters"]]) == ("+swa", ["start"])


def test_preview_plots_the_default_four_in_a_pipe_without_control_codes(lrscout):
    code, out, err = lrscout("preview")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 100
    assert "* constant  o linear:warmup=0.05  + cosine:warmup=0.05  x wsd:warmup=0.05" in out


def test_preview_and_schedules_need_no_torch(tmp_path):
    code = (
        "import sys; from lrscout.cli import main;"
        "codes = main(['preview', '-s', 'cosine', '-s', 'plateau']), main(['schedules']);"
        "print('HEAVY', sorted({'torch', 'numpy', 'yaml'} & set(sys.modules)), codes)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "HEAVY [] (0, 0)" in done.stdout, done.stderr
    assert "plateau depends on evaluations" in done.stderr


def test_preview_tells_what_is_averaged(lrscout):
    code, out, err = lrscout("preview", "-s", "wsd+swa:start=0.5", "--steps", "300")
    assert code == 0
    assert "* wsd+swa:start=0.5" in out
    assert err == "wsd+swa:start=0.5 averages the weights from step 150 on, at the rates of wsd.\n"


def test_preview_runs_what_is_not_built_in(lrscout, tmp_path, monkeypatch):
    (tmp_path / "saws.py").write_text("def saw(step, total):\n    print('noise')\n    return 2 * (1 - step / total)\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    code, out, err = lrscout("preview", "-s", "saws:saw", "-s", "torch:StepLR:step_size=9", "--app-dir", str(tmp_path))
    sys.modules.pop("saws", None)
    assert code == 0
    assert "2.0┤*" in out
    assert "noise" in err
    assert "noise" not in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-s", "cosin"], "Did you mean 'cosine'?"),
        (["-s", "cosine:min_rato=1"], "Did you mean 'min_ratio'?"),
        (["-s", "cosine:min_ratio=high"], "min_ratio must be a number from 0 to 1, not 'high'."),
        (["-s", "cosine", "-s", "cosine"], "given twice"),
        (["--steps", "0"], "Invalid value for '--steps'"),
    ],
)
def test_a_usage_error_exits_with_2_and_a_hint(lrscout, arguments, told):
    code, out, err = lrscout("preview", *arguments)
    assert (code, out) == (2, "")
    assert told in err


def test_the_list_names_schedulers_of_torch_and_of_ones_own():
    text = list_schedules(PLAIN)
    assert "\ntorch:CLASS " in text
    assert "\npkg.mod:attr " in text
