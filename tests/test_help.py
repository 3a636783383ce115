"""What --help looks like."""

import re

import pytest

from lrscout.cli import main
from lrscout.commands import COMMANDS


@pytest.fixture
def shown(monkeypatch, capsys):
    def show(*arguments, columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main([*arguments, "--help"]) == 0
        return capsys.readouterr().out

    return show


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_help_is_as_wide_as_the_window(shown, columns):
    for arguments in ((), ("find-lr",), ("compare-schedulers",)):
        lines = shown(*arguments, columns=columns).splitlines()
        widest = max(len(line) for line in lines if not line.startswith("  lrscout "))  # an example is not cut
        assert columns - 12 < widest <= columns


def test_summaries_of_commands_are_not_cut(shown):
    text = " ".join(shown(columns=60).split())
    for command in COMMANDS.values():
        assert command.summary in text


@pytest.mark.parametrize(
    ("command", "headings"),
    [
        ("find-lr", ["Target", "Sweep", "Engine", "Step", "Output", "CI", "Examples"]),
        ("find-batch-size", ["Target", "Trials", "Step", "Output", "CI", "Examples"]),
        ("compare-schedulers", ["Target", "Comparison", "Engine", "Step", "Output", "CI", "Examples"]),
        ("run", ["Target", "Training", "Output", "CI", "Examples"]),
    ],
)
def test_options_are_shown_in_groups(shown, command, headings):
    text = shown(command)
    assert [
        name for name in re.findall(r"^(\w+):$", text, re.MULTILINE) if name != "CI" or "CI" in headings
    ] == headings


def test_every_command_has_examples_that_are_its_own(shown):
    for name, command in COMMANDS.items():
        examples = shown(name, columns=110).partition("\nExamples:\n")[2].partition("\n\n")[0].splitlines()
        assert len(examples) >= 2
        assert [example.strip() for example in examples] == list(command.examples)
        assert all(re.match(rf"  lrscout {name}( |$)", example) for example in examples)


def test_the_options_of_every_example_exist(shown):
    for name, command in COMMANDS.items():
        text = shown(name, columns=110)
        for example in command.examples:
            for flag in re.findall(r"(?<= )--?[a-z][a-z-]*", example.partition(" -- ")[0]):
                assert re.search(rf"{flag}\b", text), (example, flag)


def test_the_environment_variables_are_told(shown):
    assert "LRSCOUT_FIND_LR_STEPS=300 for find-lr alone" in " ".join(shown("find-lr").split())
