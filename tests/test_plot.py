"""The plot of a sweep."""

import math
import re
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrscout.report.axes import inside, loss_limits, pieces, rate_axis, thin, value_axis
from lrscout.report.lr_plot import plot_sweep
from lrscout.report.terminal import Style
from lrscout.results import LrResult, Suggestion, SweepPoint

PLAIN = Style(width=80, color=False, unicode=True, live=False)
ASCII = Style(width=80, color=False, unicode=False, live=False)
COLOR = Style(width=80, color=True, unicode=True, live=False)
EMPTY = "no finite loss to plot"


def sweep(losses, lr=None, low=None, high=None, rates=(1e-7, 10.0)):
    """A sweep with these losses; smoothed as the engine does it."""
    points, average, weight = [], 0.0, 1.0
    for i, loss in enumerate(losses):
        if math.isfinite(loss):
            average, weight = 0.9 * average + 0.1 * loss, 0.9 * weight
        smoothed = average / (1 - weight) if weight < 1 else math.nan
        rate = rates[0] * (rates[1] / rates[0]) ** (i / max(len(losses) - 1, 1))
        points.append(SweepPoint(i, rate, loss, smoothed))
    suggestion = Suggestion(lr, "scout", "It falls there.", low, high)
    return LrResult(suggestion, {"scout": lr}, tuple(points), "completed", len(points), 1.0)


def typical(count=100):
    losses = []
    for i in range(count):
        x = -7 + 8 * i / max(count - 1, 1)
        rise = math.exp(min(6 * (x + 0.9), 60)) - 1 if x > -0.9 else 0
        losses.append(2.3 - 2.1 / (1 + math.exp(-2.2 * (x + 2.6))) + 0.03 * math.sin(13 * i) + rise)
    return losses


def canvas(text):
    """The rows between the frame's left and right side."""
    return [line.split("│")[1] if "┤" not in line else line.split("┤")[1] for line in text.split("\n")[1:-4]]


def test_plot_has_dots_a_line_the_suggestion_and_a_legend():
    text = plot_sweep(sweep(typical(), 3.2e-3, 1.1e-3, 6.4e-3), PLAIN)
    assert text.endswith("• loss  ▚ smoothed  ┃ suggested 3.2e-3  ━ usable 1.1e-3 to 6.4e-3")
    assert "learning rate" in text
    assert "•" in "".join(canvas(text))
    assert "┃" in "".join(canvas(text))


def test_suggestion_is_drawn_at_its_rate():
    text = plot_sweep(sweep(typical(), 1e-3), PLAIN)
    labels = text.split("\n")[-3]
    column = text.split("\n")[1].index("┃")
    assert abs(labels.index("1e-3") + 1 - column) <= 2


def test_usable_range_is_thick_on_the_axis():
    axis = plot_sweep(sweep(typical(), 1e-3, 1e-4, 1e-2), PLAIN).split("\n")[-4]
    ticks = [i for i, c in enumerate(axis) if c in "┬┯"]
    assert set(axis[ticks[3] : ticks[5] + 1]) == {"┯", "━"}
    assert "━" not in axis[: ticks[3]] + axis[ticks[5] + 1 :]


def test_suggestion_outside_the_sweep_is_not_drawn():
    assert "suggested" not in plot_sweep(sweep(typical(), 1e3), PLAIN)
    assert "suggested" not in plot_sweep(sweep(typical(), None), PLAIN)


def test_fall_fills_the_plot_however_high_the_loss_diverges():
    losses = typical()[:85] + [1e30] * 15
    rows = canvas(plot_sweep(sweep(losses, 3.2e-3), PLAIN))
    drawn = [i for i, row in enumerate(rows) if set(row[:60]) - {" ", "┃"}]
    assert drawn[-1] - drawn[0] >= 0.6 * len(rows)


def test_divergence_leaves_through_the_top_and_draws_nothing_along_it():
    rows = canvas(plot_sweep(sweep(typical()[:85] + [1e30] * 15), PLAIN))
    assert len(rows[0].replace(" ", "")) <= 3


@pytest.mark.parametrize(
    "losses",
    [
        [2.3],
        [2.3] * 50,
        [0.0] * 5,
        [1e30, 1e20, 3.0, 2.0],
        [-1e6 - i for i in range(50)],
        [2.0, 1e30, *[2 - 0.01 * i for i in range(50)]],
        [1.7e308, -1.7e308] * 5,
        [5e-324, 1e-320],
        [2.0, math.nan, 1.5, math.inf, -math.inf, 1.0],
    ],
    ids=["one", "equal", "zeros", "huge", "negative", "spike", "extremes", "subnormal", "non-finite"],
)
def test_odd_losses_are_drawn_quickly(losses):
    started = time.process_time()
    text = plot_sweep(sweep(losses, 1e-3), PLAIN)
    assert set("".join(canvas(text))) & set("•▘▝▀▖▌▞▛▗▚▐▜▄▙▟█")
    assert time.process_time() - started < 5  # of computing: a busy machine may take longer


@pytest.mark.parametrize("losses", [[], [math.nan], [math.inf, -math.inf]])
def test_plot_without_finite_losses_is_a_sentence(losses):
    assert plot_sweep(sweep(losses), PLAIN) == EMPTY


def test_a_hundred_thousand_points_are_drawn_within_seconds():
    result = sweep(typical(100_000), 3.2e-3)
    started = time.process_time()
    plot_sweep(result, PLAIN)
    assert time.process_time() - started < 5


def test_ascii_plot_is_ascii():
    text = plot_sweep(sweep(typical(), 3.2e-3, 1.1e-3, 6.4e-3), ASCII)
    assert text.isascii()
    assert text.endswith(". loss  * smoothed  | suggested 3.2e-3  = usable 1.1e-3 to 6.4e-3")


def test_plot_without_color_has_no_escape_codes():
    assert "\x1b" not in plot_sweep(sweep(typical(), 3.2e-3, 1e-3, 1e-2), PLAIN)


def test_color_only_adds_codes():
    result = sweep(typical(), 3.2e-3, 1e-3, 1e-2)
    colored = plot_sweep(result, COLOR)
    assert "\x1b[94m" in colored
    assert re.sub(r"\x1b\[\d+m", "", colored) == plot_sweep(result, PLAIN)


def test_every_colored_line_ends_reset():
    lines = plot_sweep(sweep(typical(), 3.2e-3, 1e-3, 1e-2), COLOR).split("\n")
    last = [codes[-1] for line in lines if (codes := re.findall(r"\x1b\[\d+m", line))]
    assert len(last) > 15
    assert set(last) == {"\x1b[0m"}


@pytest.mark.parametrize("style", [PLAIN, ASCII])
def test_no_line_is_wider_than_the_width_or_ends_in_a_space(style):
    result = sweep(typical(), 3.2e-3, 1.1e-3, 6.4e-3)
    for width in range(40, 201, 5):
        lines = plot_sweep(result, Style(width, style.color, style.unicode, False)).split("\n")
        assert max(map(len, lines)) <= width
        assert not [line for line in lines if line != line.rstrip()]


def test_height_includes_the_frame_and_the_tick_labels():
    lines = plot_sweep(sweep(typical(), 1e-3), PLAIN, height=12).split("\n")
    assert len(lines) == 12 + 2  # "learning rate" and the key


def test_plots_are_reproducible():
    assert plot_sweep(sweep(typical()), PLAIN) == plot_sweep(sweep(typical()), PLAIN)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(), max_size=30),
    st.sampled_from([40, 57, 80, 133]),
    st.booleans(),
    st.sampled_from([(1e-7, 10.0), (1e-3, 1.0001e-3), (0.01, 0.03), (1e-300, 1e300), (0.1, 0.1)]),
)
def test_any_losses_are_drawn_within_the_width(losses, width, unicode, rates):
    middle = math.sqrt(rates[0]) * math.sqrt(rates[1])
    result = sweep(losses, middle, rates[0], rates[1], rates)
    text = plot_sweep(result, Style(width, False, unicode, False))
    assert max(map(len, text.split("\n"))) <= width
    swept = [p for p in result.points if math.isfinite(p.lr)]
    # the smoothed loss of the largest numbers that there are may be infinite
    drawn = all(any(map(math.isfinite, some)) for some in ([p.loss for p in swept], [p.smoothed_loss for p in swept]))
    assert (text != EMPTY) is ("smoothed" in text) is drawn
    assert unicode or text.isascii()


def test_rates_of_zero_are_left_out():
    points = (SweepPoint(0, 0.0, 2.0, 2.0), SweepPoint(1, 1e-3, 2.0, 2.0))
    result = LrResult(Suggestion(None, "scout", ""), {}, points, "completed", 2, 1.0)
    assert "smoothed" in plot_sweep(result, PLAIN)


def test_limits_include_the_fall_and_not_the_divergence():
    losses = [2.0] * 20 + [1.5, 1.0, 0.5] + [3.0, 100.0, 1e30]
    low, high = loss_limits(losses, losses)
    assert 0.0 < low < 0.5
    assert 2.0 < high < 4.0


def test_limits_ignore_an_outlier_at_the_start():
    losses = [1e6] + [2.0] * 20 + [1.5, 1.0, 0.5]
    assert loss_limits(losses, losses)[1] < 10


@pytest.mark.parametrize(
    ("low", "high", "columns", "labels"),
    [
        (-7, 1, 75, ["1e-7", "1e-6", "1e-5", "1e-4", "1e-3", "1e-2", "1e-1", "1e0", "1e1"]),
        (-7, 1, 36, ["1e-7", "1e-5", "1e-3", "1e-1", "1e1"]),
        (-2, -1, 75, ["1e-2", "2e-2", "5e-2", "1e-1"]),
        (
            math.log10(0.01),
            math.log10(0.015),
            75,
            ["1.0e-2", "1.1e-2", "1.2e-2", "1.3e-2", "1.4e-2", "1.5e-2"],
        ),
    ],
)
def test_rate_labels_are_decades_or_finer_where_there_are_few(low, high, columns, labels):
    assert [label for _, label in rate_axis(low, high, columns).ticks] == labels


def test_value_labels_are_round_and_distinct():
    assert [label for _, label in value_axis(0.1, 2.4, 15).ticks] == ["0.5", "1.0", "1.5", "2.0"]
    assert [label for _, label in value_axis(0.0, 1e30, 8).ticks] == ["0", "5e29", "1.0e30"]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(3, 40))
def test_value_labels_are_accurate(low, span, rows):
    axis = value_axis(low, low + span, rows)
    assert axis.ticks
    for at, label in axis.ticks:
        assert float(label) == pytest.approx(at, abs=span / 50)


def test_line_is_cut_where_it_leaves_the_limits():
    assert pieces([(0, 0), (1, 4), (2, 0)], 0, 2) == [[(0, 0), (0.5, 2)], [(1.5, 2), (2, 0)]]
    assert pieces([(0, -1), (1, 3)], 0, 2) == [[(0.25, 0), (0.75, 2)]]
    assert pieces([(0, 5), (1, 6)], 0, 2) == []
    assert inside([(0, 5), (1, 1)], 0, 2) == [(1, 1)]


def test_thinned_line_keeps_its_peaks():
    points = [(float(i), 0.0) for i in range(10_000)]
    points[1234] = (1234.0, 9.0)
    thinned = thin(points, 50)
    assert len(thinned) <= 100
    assert (1234.0, 9.0) in thinned
    assert thinned == sorted(thinned)


def test_help_of_plotext_works_after_a_plot():
    code = (
        "from lrscout.report.plot import import_plotext; plotext = import_plotext();"
        "import sys; assert 'plotext._doc.sections' not in sys.modules;"
        "assert 'signal' in dir(plotext.figure); assert callable(plotext.doc.signal);"
        "import plotext as again; assert again is plotext"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
