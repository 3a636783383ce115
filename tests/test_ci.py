"""The formats of CI services."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import pytest

from lrscout.report.ci import GitHub, GitLab, escape_commands, github_outputs, junit_xml
from lrscout.report.output import Output


@pytest.mark.parametrize("line", ["::error::x", "  ::set-output name=a::b", "##[group]x", "\t::stop-commands::t"])
def test_output_is_never_run_as_a_command(line):
    text = escape_commands(f"before\n{line}\nafter :: this")
    assert not any(part.strip().startswith(("::", "##[")) for part in text.split("\n"))
    assert text.endswith("after :: this")


def test_commands_are_disabled_while_user_code_runs():
    said = []
    service = GitHub(said.append)
    service.begin()
    service.fold("The runs")
    service.fold("The runs")  # once only
    service.end()
    service.failed("100%\nof it")
    first, second = said[0].removeprefix("::stop-commands::"), said[3].removeprefix("::stop-commands::")
    assert len(first) == 32 != second
    assert said == [
        f"::stop-commands::{first}",
        f"::{first}::",
        "::group::The runs",
        f"::stop-commands::{second}",
        f"::{second}::",
        "::endgroup::",
        "::error title=lrscout::100%25%0Aof it",
    ]


def test_commands_are_enabled_again_before_a_failure_is_reported():
    said = []
    service = GitHub(said.append)
    service.begin()
    service.failed("broken")
    assert said[1] == f"::{said[0].removeprefix('::stop-commands::')}::"
    assert said[2].startswith("::error ")


def test_gitlab_section_is_opened_and_closed_once():
    said = []
    service = GitLab(said.append, clock=lambda: 12.0)
    for step in (service.begin, lambda: service.fold("Runs"), lambda: service.fold("Runs"), service.end, service.end):
        step()
    assert said == [
        "\x1b[0Ksection_start:12:lrscout_runs[collapsed=true]\r\x1b[0KRuns",
        "\x1b[0Ksection_end:12:lrscout_runs\r\x1b[0K",
    ]


def test_github_outputs_take_one_line_each():
    assert github_outputs([("winner", "a\nb=c"), ("verdict", "best")]) == "winner=a b=c\nverdict=best\n"


def test_junit_xml_is_well_formed_for_any_text():
    text = junit_xml("lrscout", [("a <b> & \x00", True, "fine"), ("c", False, "p = 0.4\x1b[0m")], 1.5)
    root = ElementTree.fromstring(text)
    suite = root.find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("time")) == ("2", "1", "1.500")
    assert suite.find("testcase/failure").get("message") == "p = 0.4\\x1b[0m"


@pytest.mark.parametrize(("environ", "kept"), [({"GITHUB_ACTIONS": "true"}, False), ({}, True)])
def test_output_escapes_commands_only_on_github(environ, kept):
    results, messages = io.StringIO(), io.StringIO()
    output = Output(results, messages, environ=environ)
    output.result("::error::x")
    output.note("::error::y")
    output.command("::group::ours")
    assert ("\n::error::y" in f"\n{messages.getvalue()}") is kept
    assert results.getvalue().startswith("::error") is kept
    assert "\n::group::ours\n" in messages.getvalue()
