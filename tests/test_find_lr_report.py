"""The report of find-lr."""

import dataclasses
import re

import pytest

from lrscout.formatting import format_loss, format_lr, format_seconds
from lrscout.report.exports import to_markdown
from lrscout.report.find_lr import answer, sweep_end
from lrscout.report.lr_tables import describe
from lrscout.report.terminal import Style
from lrscout.report.views import printed, summary
from lrscout.results import LrResult, RunRecord, Suggestion, SweepPoint
from lrscout.runs.lr.trainer import TrainingLength, length_of
from lrscout.search.rules import RULES
from lrscout.search.scout import HORIZON
from lrscout.settings import FindLrSettings

PLAIN = Style(width=80, color=False, unicode=True, live=False)
VERBOSE = dataclasses.replace(PLAIN, verbose=True)

SUGGESTION = Suggestion(3.2e-3, "scout", "The loss falls fastest there.", 1.1e-3, 6.4e-3, (3.2e-3,))
RESULT = LrResult(
    SUGGESTION,
    {"scout": 3.2e-3, "steepest": 5.1e-3, "minimum": None},
    tuple(SweepPoint(i, 1e-3 * (i + 1), 2.0 - 0.1 * i, 2.0 - 0.05 * i) for i in range(5)),
    "diverged",
    5,
    1.93,
)
RECORD = RunRecord(
    "find-lr",
    "ok",
    {"path": "examples/mnist.py:build"},
    {"steps": 100},
    {"device": "cuda:0", "optimizer": "AdamW"},
    RESULT,
)


def changed(record=RECORD, **suggestion):
    result = dataclasses.replace(RESULT, suggestion=dataclasses.replace(SUGGESTION, **suggestion))
    return dataclasses.replace(record, result=result)


def test_summary_ends_with_the_rate_the_reason_and_the_usable_range():
    answer, _, lines = summary(RECORD, PLAIN).rpartition("\n\n")
    assert lines.startswith("optimizer = ")
    assert answer.split("\n")[-4:] == [
        "",
        "Suggested learning rate: 3.2e-3",
        "The loss falls fastest there.",
        "Usable from 1.1e-3 to 6.4e-3.",
    ]


@pytest.mark.parametrize(("ranks", "shown"), [(1, False), (2, True)])
def test_the_ranks_of_a_command_are_shown_where_there_are_several(ranks, shown):
    target = {"command": ["torchrun", "--nproc-per-node", "2", "train.py"], "ranks": ranks}
    text = summary(dataclasses.replace(RECORD, target=target), PLAIN)
    assert bool(re.search(r"^ranks +2$", text, re.MULTILINE)) == shown


@pytest.mark.parametrize(
    ("given_by", "shown"), [("--epochs", "about 940 steps (--epochs)"), (None, "about 940 steps\n")]
)
def test_the_length_of_the_training_is_shown_with_what_gave_it(given_by, shown):
    result = dataclasses.replace(changed(confidence="high").result, length_from=given_by)
    record = dataclasses.replace(RECORD, result=result, settings={"steps": 100, "horizon": 940})
    assert shown in summary(record, PLAIN)


@pytest.mark.parametrize(
    ("settings", "own", "length"),
    [
        ({"epochs": 3}, ("OneCycleLR", 70), TrainingLength(36, 3, "--epochs")),
        ({"horizon": 60}, ("OneCycleLR", 70), TrainingLength(60, 5, "--horizon")),
        ({}, None, TrainingLength(HORIZON, None, "by default")),
    ],
    ids=["epochs", "horizon", "default"],
)
def test_the_length_is_that_of_the_settings_or_else_a_default(settings, own, length):
    assert length_of(FindLrSettings(**settings), 12.0, own) == length


def test_a_target_that_knows_its_length_says_so():
    length = length_of(FindLrSettings(), 10.0, ("OneCycleLR", 70))
    assert (length.steps, length.epochs, length.source) == (70, 7, "the target's OneCycleLR")
    assert "OneCycleLR" in length.warning


def test_summary_has_the_rules_in_one_line():
    text = summary(RECORD, dataclasses.replace(PLAIN, width=100))
    assert re.search(
        r"^rules +scout 3\.2e-3, steepest 5\.1e-3, minimum none \(-v describes them\)$", text, re.MULTILINE
    )


def test_verbose_summary_lists_all_rules_and_marks_the_suggested_one():
    text = summary(RECORD, VERBOSE)
    assert re.search(r"^▸ scout +3\.2e-3", text, re.MULTILINE)
    assert re.search(r"^  steepest +5\.1e-3", text, re.MULTILINE)
    assert re.search(r"^  minimum +none", text, re.MULTILINE)


def test_rules_are_described_by_their_docstrings(monkeypatch):
    def rule():
        """The rate where the loss falls fastest.

        More words.
        """

    monkeypatch.setitem(RULES, "scout", rule)
    assert describe("scout") == "The rate where the loss falls fastest"
    assert "The rate where the loss falls fastest" in summary(RECORD, VERBOSE)


def test_rule_without_a_docstring_or_unknown_has_no_description(monkeypatch):
    monkeypatch.setitem(RULES, "scout", None)
    assert describe("scout") == ""
    assert describe("of a later version") == ""


def test_summary_shows_facts_about_the_sweep():
    text = summary(RECORD, PLAIN)
    assert "stopped at step 5 of 100, lr 5.0e-3: the loss diverged" in text
    for fact in ("1.93 s", "examples/mnist.py:build", "AdamW", "cuda:0"):
        assert fact in text


def test_accelerator_is_shown_with_its_name():
    environment = {"device": "cuda:0", "device_name": "NVIDIA H200"}
    assert "cuda:0 (NVIDIA H200)" in summary(dataclasses.replace(RECORD, environment=environment), PLAIN)


def test_missing_facts_are_left_out():
    text = summary(dataclasses.replace(RECORD, environment={}, settings={}, target={}), PLAIN)
    assert "stopped at step 5, lr" in text
    assert not {"target", "optimizer", "device"} & set(text.split())


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("completed", "completed at step 5 of 9, lr 5.0e-3"),
        ("interrupted", "interrupted at step 5 of 9, lr 5.0e-3"),
        ("non_finite", "stopped at step 5 of 9, lr 5.0e-3: the loss was not finite"),
    ],
)
def test_each_end_of_a_sweep_is_described(reason, words):
    assert sweep_end(dataclasses.replace(RESULT, stop_reason=reason), 9) == words


def test_a_sweep_without_steps_is_described():
    assert sweep_end(dataclasses.replace(RESULT, points=(), steps=0), 9) == "stopped before the first step"


def test_summary_of_an_inconclusive_sweep_gives_the_reason():
    record = changed(lr=None, low=None, high=None, reason="The loss never fell.")
    text = summary(dataclasses.replace(record, status="inconclusive"), PLAIN)
    assert text.endswith("\n\nNo learning rate suggested\nThe loss never fell.")
    assert "sable" not in text


@pytest.mark.parametrize(
    ("status", "error", "title", "note"),
    [
        ("interrupted", None, "Suggested learning rate: 3.2e-3", "interrupted"),
        ("failed", "OSError: full", "The run failed: OSError: full", "before the failure"),
    ],
)
def test_summary_of_an_unfinished_run_says_so(status, error, title, note):
    text = summary(dataclasses.replace(RECORD, status=status, error=error), PLAIN)
    assert f"\n\n{title}\n" in text
    assert note in text.partition(title)[2]
    assert "steepest" in text


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_record_without_a_result_is_one_line(status):
    text = summary(dataclasses.replace(RECORD, status=status, result=None), PLAIN)
    assert "\n" not in text
    assert status in text


GROUPS = [{"name": "body", "parameters": 11_176_512, "lr": 1e-5}, {"name": None, "parameters": 5130, "lr": 1e-4}]


def with_groups(groups, **more):
    record = changed(groups=(3.2e-4, 3.2e-3), **more)
    return dataclasses.replace(record, environment={"groups": groups})


def test_groups_are_listed_only_if_there_are_several():
    assert not re.search("^group ", summary(RECORD, PLAIN), re.MULTILINE)
    assert re.search(r"^group +parameters +learning rate$", summary(with_groups(GROUPS), PLAIN), re.MULTILINE)


def test_scripts_get_the_rate_of_every_group():
    assert answer(RECORD) == "0.0032"
    assert answer(with_groups(GROUPS)) == "0.00032\n0.0032"


def test_each_group_has_its_name_its_size_and_its_rate_before_and_after():
    text = summary(with_groups(GROUPS), PLAIN)
    assert re.search(r"^body +11,176,512 +1\.0e-5 -> 3\.2e-4$", text, re.MULTILINE)
    assert re.search(r"^1 +5,130 +1\.0e-4 -> 3\.2e-3$", text, re.MULTILINE)


def test_markdown_describes_the_groups_too():
    page = to_markdown(with_groups([{**GROUPS[0], "name": "a*b"}, GROUPS[1]]))
    assert "| a\\*b | 11,176,512 | 1.0e-5 -\\> 3.2e-4 |" in page


@pytest.mark.parametrize("environment", [{}, {"groups": GROUPS[:1]}])
def test_a_record_that_does_not_describe_its_groups_shows_their_rates(environment):
    record = dataclasses.replace(changed(groups=(3.2e-4, 3.2e-3)), environment=environment)
    assert re.search(r"^1 +3\.2e-3$", summary(record, PLAIN), re.MULTILINE)
    assert "| 1 | 3.2e-3 |" in to_markdown(record)


def test_the_groups_fit_into_40_columns():
    text = summary(with_groups(GROUPS), dataclasses.replace(PLAIN, width=40))
    assert re.search(r"^body +11,176,512 +1\.0e-5 -> 3\.2e-4$", text, re.MULTILINE)


def test_markup_and_escapes_in_names_are_shown_as_text():
    text = summary(printed(dataclasses.replace(RECORD, target={"path": "[red]x[/]:[/a/b]\x1b[31m"})), PLAIN)
    assert "[red]x[/]:[/a/b]\\x1b[31m" in text


def test_summary_does_not_depend_on_the_environment(monkeypatch):
    plain = summary(RECORD, PLAIN)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "GITHUB_ACTIONS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("COLUMNS", "20")
    assert summary(RECORD, PLAIN) == plain


def test_summary_has_color_only_on_request(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")  # the style has looked at it already
    colored = summary(RECORD, Style(80, True, True, False))
    assert "\n\n\x1b[1mSuggested learning rate: 3.2e-3\x1b[0m\n" in colored
    assert "\x1b" not in summary(RECORD, PLAIN)


@pytest.mark.parametrize("unicode", [True, False])
def test_summary_fits_every_width(unicode):
    record = with_groups([{**GROUPS[0], "name": "name" * 30}, GROUPS[1]], reason="word " * 40)
    record = dataclasses.replace(record, target={"path": "a" * 300})
    for width in range(40, 201, 20):
        text = summary(record, Style(width, False, unicode, False))
        above = text.rpartition("\n\n")[0] if width >= 60 else text  # lines to paste are never folded
        assert all(len(line) <= width and line == line.rstrip() for line in above.split("\n"))
        assert unicode or text.isascii()


@pytest.mark.parametrize(
    ("lr", "text"), [(3.2e-3, "3.2e-3"), (1e-7, "1.0e-7"), (10, "1.0e1"), (0.0996, "1.0e-1"), (1.55, "1.6e0")]
)
def test_rates_have_two_digits_and_a_short_exponent(lr, text):
    assert format_lr(lr) == text


def test_losses_have_four_digits():
    numbers = [2.3, 0.0412, 123456.0, 0.0, float("nan")]
    assert [format_loss(x) for x in numbers] == ["2.300", "0.04120", "1.235e5", "0.000", "nan"]


def test_durations_have_readable_units():
    numbers = [0.421, 12.34, 59.99, 185, 7440]
    texts = ["0.42 s", "12.3 s", "60.0 s", "3 min 5 s", "2 h 4 min"]
    assert [format_seconds(x) for x in numbers] == texts
