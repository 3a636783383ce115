"""The report of compare-schedulers."""

from __future__ import annotations

import json
import re

import pytest

from lrscout.records import from_json, to_json
from lrscout.report.ci import run_line
from lrscout.report.compare_plot import plot_schedules_losses
from lrscout.report.compare_schedulers import answer, headline, plus_minus, problem, rows
from lrscout.report.exports import to_markdown
from lrscout.report.terminal import Style
from lrscout.report.views import summary
from lrscout.results import ComparedRun, CompareResult, Difference, Metric, RateRange, RunRecord, TrainingPoint
from lrscout.schedules import parse_schedules
from lrscout.search.comparison import rank

WARM = "linear:warmup=0.05"


def runs_of(label, finals, level=1.0):
    points = tuple(TrainingPoint(step, 0.1, level * 0.9**step + 0.01) for step in range(20))
    name = label.partition(":")[0]
    return [
        ComparedRun(
            name, label, seed, 0.1, "score", "ok" if final is not None else "diverged", final, final, final, points, 1.0
        )
        for seed, final in enumerate(finals, 1)
    ]


def record_of(finals, mode="min", status="ok", **options):
    specs = parse_schedules(list(finals))
    runs = [run for label, values in finals.items() for run in runs_of(label, values)]
    ranking, baseline = rank(specs, [0.1] * len(specs), runs, mode, **options)
    seeds = max(map(len, finals.values()))
    metric = Metric("held-out loss", mode, True)
    result = CompareResult(ranking, tuple(runs), metric, baseline, True, 20 * len(runs), 20, seeds, 0.1, 3.0)
    return RunRecord("compare-schedulers", status, {"path": "mymod:build"}, {"lr_mode": "tune"}, {}, result)


def style(width=80, **more):
    return Style(**{"width": width, "color": False, "unicode": True, "live": False, **more})


GOOD, ALSO, BAD = [0.50, 0.61, 0.70], [0.51, 0.60, 0.71], [0.62, 0.74, 0.81]


@pytest.mark.parametrize(
    ("finals", "options", "sentence"),
    [
        (
            {"cosine": GOOD, "wsd": ALSO, "constant": BAD},
            {},
            r"cosine and wsd tie; constant is worse by 0\.120 ± 0\.025",
        ),
        ({"cosine": GOOD, "constant": BAD}, {}, r"cosine is best; constant is worse by 0\.120 ± 0\.025"),
        ({"cosine": GOOD, "wsd": ALSO, WARM: GOOD}, {}, "cosine, linear and wsd all tie"),
        ({"cosine": GOOD, "cosine:min_ratio=0.1": BAD}, {}, r"cosine is best; cosine:min_ratio=0\.1 is worse by .*"),
        (
            {"cosine": GOOD, "wsd": ALSO, "constant": BAD},
            {"baseline": "constant"},
            r"(cosine|wsd) is better than constant by 0\.120 ± 0\.\d+; (cosine|wsd) is better than constant by .*",
        ),
        ({"cosine": GOOD, "wsd": ALSO}, {"baseline": "cosine"}, "wsd ties with cosine"),
        ({"cosine": GOOD, "wsd": [0.1, None, None]}, {}, "only cosine never diverged; wsd diverged in 2 of 3 runs"),
        ({"cosine": [None], "wsd": [None]}, {}, "no run finished"),
        (
            {"cosine": GOOD[:2], "wsd": BAD[:2]},
            {},
            "cosine has the lowest held-out loss, but with 2 seeds .*",
        ),
        (
            {"cosine": GOOD[:1], "wsd": BAD},  # interrupted
            {},
            "cosine has the lowest held-out loss, but with 1 seed this may be chance",
        ),
        ({"cosine": BAD, "constant": GOOD}, {"mode": "max"}, r"cosine is best; constant is worse by 0\.120 ± 0\.025"),
    ],
)
def test_headline_answers_in_one_sentence(finals, options, sentence):
    assert re.fullmatch(sentence, headline(record_of(finals, **options)))


@pytest.mark.parametrize("unicode", [True, False])
@pytest.mark.parametrize("width", [40, 66, 80, 120])
def test_summary_fits_the_width_and_the_encoding(width, unicode):
    finals = {"cosine": GOOD, WARM: ALSO, "constant": BAD, "wsd": [0.1, None, 0.1]}
    record = record_of(finals, ranges=dict.fromkeys(finals, RateRange(0.0033, 0.1)))
    text = summary(record, style(width, unicode=unicode))
    assert max(map(len, text.split("\n"))) <= width
    assert unicode or text.isascii()


def test_the_table_has_five_columns_at_80_and_two_lines_a_schedule_at_60():
    record = record_of({"cosine": GOOD, WARM: BAD, "wsd": [0.1, None, 0.1]})
    wide, narrow = summary(record, style(80)), summary(record, style(60))
    assert re.search(r"^schedule +peak lr +held-out loss +difference +verdict$", wide, re.MULTILINE)
    assert re.search(r"^linear:warmup=0.05 +1.0e-1 +0.72 ± 0.24 +\+0.120 ± 0.025 +worse$", wide, re.MULTILINE)
    assert re.search(r"^wsd .* 1/3 diverged$", wide, re.MULTILINE)
    assert re.search(r"^schedule +held-out loss\n  peak lr +difference +verdict$", narrow, re.MULTILINE)
    assert re.search(r"^linear +0.72 ± 0.24 +worse\n  1.0e-1 +\+0.120 ± 0.025$", narrow, re.MULTILINE)


def test_every_run_is_listed_on_request():
    record = record_of({"cosine": GOOD, "wsd": [0.1, None, 0.1]})
    assert "seed 1" not in summary(record, style(80))
    text = summary(record, style(80, verbose=True))
    assert re.search(r"^wsd seed 2 +1\.0e-1 +diverged +1\.00 s$", text, re.MULTILINE)
    assert text.index("wsd seed 2") < text.index("verdict")


def test_the_range_of_tied_rates_is_shown():
    ranges = {"cosine": RateRange(0.1, 0.3), WARM: RateRange(0.1, 0.1), "wsd": RateRange(0.033, 0.3)}
    text = summary(record_of({"cosine": GOOD, WARM: ALSO, "wsd": BAD}, ranges=ranges), style(80))
    assert re.search(r"^rates +tuned .* nearest to 1\.0e-1$", text, re.MULTILINE)
    assert re.search(r"^tied rates +cosine 1\.0e-1 to 3\.0e-1; wsd 3\.3e-2 to 3\.0e-1$", text, re.MULTILINE)


def test_no_range_is_shown_if_no_rates_tie():
    ranges = {"cosine": RateRange(0.1, 0.1), "wsd": None}
    assert "tied rates" not in summary(record_of({"cosine": GOOD, "wsd": BAD}, ranges=ranges), style(80))


def test_a_record_without_ranges_from_an_earlier_version_is_read():
    record = record_of({"cosine": GOOD, "wsd": BAD})
    document = json.loads(to_json(record))
    for row in document["result"]["ranking"]:
        del row["peak_lr_range"]
    assert from_json(json.dumps(document)) == record


def test_schedules_are_plotted_on_the_same_axes():
    text = summary(record_of({"cosine": GOOD, "constant": BAD}), style(80))
    assert text.count("░ seeds") == 2
    assert "▚ cosine" in text
    assert re.findall(r"([\d.]+)┤.* ([\d.]+)┤", text) == [("1", "1"), ("0.5", "0.5"), ("0.2", "0.2")]


@pytest.mark.parametrize("color", [True, False])
def test_in_a_small_window_the_means_share_one_plot_of_a_third_of_it(color):
    result = record_of({"cosine": GOOD, "wsd": ALSO, "constant": BAD}).result
    small = plot_schedules_losses(result, style(100, rows=40, color=color)).split("\n")
    assert len(small) <= 40 // 3 + 2  # with its heading and its legend
    assert all(row.label in small[-1] for row in result.ranking)
    assert "mean of the seeds" in small[0]
    apart = plot_schedules_losses(result, style(100, rows=40, verbose=True))
    assert "mean and range of the seeds" in apart
    assert apart.count("seeds  ▚") == len(result.ranking)


def test_color_only_adds_codes():
    record = record_of({"cosine": GOOD, "constant": BAD})
    assert re.sub(r"\x1b\[[0-9;]*m", "", summary(record, style(80, color=True))) == summary(record, style(80))


def test_markdown_has_the_table_and_the_plot_fenced():
    text = to_markdown(record_of({"cosine": GOOD, "constant": BAD}))
    assert text.startswith("## cosine is best; constant is worse by 0.120 ± 0.025\n")
    assert "| cosine | 1.0e-1 | 0.60 ± 0.25 |  | best |" in text
    assert text.count("```") == 2


def test_a_run_is_logged_on_one_line():
    (run,) = runs_of("cosine", [0.1234])
    assert run_line(run, 3, 32, 65.0) == "run  3/32  cosine  seed 1  lr 1.0e-1  0.1234  1.00 s  1:05 left"
    (run,) = runs_of("cosine", [None])
    assert run_line(run, 32, 32, None) == "run 32/32  cosine  seed 1  lr 1.0e-1  diverged  1.00 s"


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (0.12, 0.03, "+0.120 ± 0.030"),
        (-0.12, 0.0312, "-0.120 ± 0.031"),
        (123.4, 56.7, "+123 ± 57"),
        (1e-9, 0.0, "+1.000e-9 ± 0.000"),
        (3e8, 1e8, "+3.000e8 ± 1.000e8"),
    ],
)
def test_a_number_is_rounded_to_its_interval(mean, half, text):
    assert plus_minus(Difference(mean, mean - half, mean + half, 0.1), signed=True) == text


def test_a_number_without_an_interval_is_formatted_like_a_loss():
    assert plus_minus(Difference(0.5, None, None, None), signed=True) == "+0.5000"


def test_scripts_get_an_answer_or_a_problem():
    record = record_of({"cosine": GOOD, "constant": BAD})
    assert (answer(record), problem(record)) == ("cosine", None)
    assert len(list(rows(record))) == 7
    nothing = record_of({"cosine": [None], "constant": [None]}, status="inconclusive")
    assert (answer(nothing), problem(nothing)) == (None, "no run finished")


def test_an_interrupted_comparison_says_so():
    assert headline(record_of({"cosine": GOOD, "wsd": ALSO}, status="interrupted")).startswith("Interrupted; so far, ")
