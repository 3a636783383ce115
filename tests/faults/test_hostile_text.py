"""Text that is not ours never reaches a terminal, a log, Markdown, XML or JSON as anything but text."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from small_records import records, with_texts

from lrscout.cli import main
from lrscout.errors import LrscoutError
from lrscout.records import from_json, save, to_json
from lrscout.report.ci import GitHub, escape_commands, github_outputs, junit_xml
from lrscout.report.exports import to_csv, to_markdown
from lrscout.report.markdown import code, inline, markdown_table
from lrscout.report.output import Output

HOSTILE = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[8m",
    "a\x9b31mb",
    "a\u202eb\u2066c",
    "a\r\x08\x00\x7fb",
    "[bold]x[/bold] :smile:",
    "::error::x",
    "x\n  ::error::x",
    "x\r::set-output name=a::b",
    "in the middle ##[error]x",
    "a | b\\| c ` d `` <img src=x> ![i](u) *e* ~~s~~ &lt; _u_",
    "# head",
    "- item",
    "1. item",
    "    code",
    "---",
    "<script>",
    "]]></failure><x/>",
    "\u2028\u2029\x85::error::x",
    "{metric} %s %(x)s",
]
ALL_AT_ONCE = "".join(HOSTILE)


def mixed(shift: int) -> Callable[[str], str]:
    """Another hostile text for each text of a record."""
    return lambda text: HOSTILE[(zlib.crc32(text.encode()) + shift) % len(HOSTILE)]


def always(text: str) -> Callable[[str], str]:
    """The same hostile text for all of them."""
    return lambda _: text


SOME = pytest.param([mixed(0), always(ALL_AT_ONCE)], id="some")
ALL = pytest.param([always(text) for text in HOSTILE], id="all", marks=pytest.mark.slow)
by_changes = pytest.mark.parametrize("changes", [SOME, ALL])
by_texts = pytest.mark.parametrize(
    "texts",
    [pytest.param(["::error::x", ALL_AT_ONCE], id="some"), pytest.param(HOSTILE, id="all", marks=pytest.mark.slow)],
)
OWN_COMMAND = re.compile(r"^(::stop-commands::[0-9a-f]{32}|::[0-9a-f]{32}::|::error title=lrscout [a-z-]+::)")
COLORS = re.compile(r"\x1b\[[0-9;]*m")
RECORDS = records()


def is_legible(text: str, color: bool = False) -> bool:
    """Whether a text has no control characters but the ends of lines, and our colors."""
    text = COLORS.sub("", text) if color else text
    return all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in text.replace("\n", ""))


def runs_commands(log: str) -> bool:
    """Whether GitHub's runner finds a command: at the start of a line, or `##[` anywhere.

    Source: https://github.com/actions/runner/blob/main/src/Runner.Common/ActionCommand.cs.
    """
    lines = [OWN_COMMAND.sub("", line) for line in re.split(r"[\r\n]", log)]
    return any(line.strip().startswith("::") or "##[" in line for line in lines)


def run(arguments: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def github(monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("color", [False, True])
@by_changes
def test_no_text_of_a_record_reaches_the_terminal_unescaped(name, color, changes, tmp_path, monkeypatch):
    if color:
        monkeypatch.setenv("FORCE_COLOR", "1")
    for change in changes:
        save(with_texts(RECORDS[name], change), tmp_path / "r.json")
        code, out, err = run(["show", str(tmp_path / "r.json"), "-v"])
        assert code == 0, err
        assert out
        assert is_legible(out, color), ascii(out)
        assert is_legible(err, color), ascii(err)
        assert not runs_commands(out + err)
        assert "\x1b[31m" not in out + err
        assert "\x1b[8m" not in out + err


@pytest.mark.parametrize("name", RECORDS)
@by_changes
def test_json_has_every_text_of_a_record_escaped_and_whole(name, changes, tmp_path):
    for change in changes:
        record = with_texts(RECORDS[name], change)
        save(record, tmp_path / "r.json")
        _, out, err = run(["show", str(tmp_path / "r.json"), "--json"])
        assert is_legible(out), ascii(out)
        assert is_legible(err), ascii(err)
        assert not runs_commands(out + err)
        assert json.loads(out)["warnings"] == list(record.warnings)


ALLOWED = {"heading", "paragraph", "inline", "text", "code_inline", "fence", "bullet_list", "list_item", "softbreak"}
ALLOWED |= {"table", "thead", "tbody", "tr", "th", "td", "strong"}


def kinds(markdown: str) -> list[str]:
    """The kinds of the elements of a document, in order."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    return [t.type.removesuffix("_open") for token in tokens for t in (token, *(token.children or ()))]


@pytest.mark.parametrize("name", RECORDS)
@by_changes
def test_no_text_of_a_record_becomes_markup_in_markdown(name, changes):
    for change in changes:
        made = to_markdown(with_texts(RECORDS[name], change))
        plain = kinds(to_markdown(with_texts(RECORDS[name], lambda text: f"x{zlib.crc32(change(text).encode())}")))  # noqa: B023
        assert is_legible(made)
        assert {kind.removesuffix("_close") for kind in kinds(made)} <= ALLOWED
        for kind in ("heading", "tr", "td", "list_item", "fence"):  # nothing is added to the document, nor lost
            assert kinds(made).count(kind) == plain.count(kind), kind


@given(st.text("ab |\\`*_[]<>#!&~@-+.=:1(){}\n\x1b\u202e", min_size=1, max_size=12))
def test_any_text_is_itself_in_markdown(text):
    for made in (inline(text), markdown_table((inline(text), "b"), [(inline(text), code(text))])):
        assert {kind.removesuffix("_close") for kind in kinds(made)} <= ALLOWED - {"heading", "fence", "strong"}
    shown = MarkdownIt("commonmark").parseInline(inline(text))[0].children
    assert (
        "".join(t.content for t in shown).split()
        == text.encode("unicode_escape").decode().replace("\\\\", "\\").split()
    )


@pytest.mark.parametrize("name", RECORDS)
@by_changes
def test_csv_has_no_control_characters(name, changes):
    for change in changes:
        assert is_legible(to_csv(with_texts(RECORDS[name], change)))


@given(st.sampled_from(HOSTILE) | st.text())
def test_junit_has_any_text_legible_and_well_formed(text):
    made = junit_xml("lrscout", [(text, True, text), (text, False, text)], 1.0)
    assert is_legible(made.replace("\t", ""))
    assert len(ElementTree.fromstring(made).findall("testsuite/testcase")) == 2


@given(st.sampled_from(HOSTILE) | st.text("ab#[:] \n\r\t\\", max_size=12))
def test_a_failure_reported_to_github_is_one_command_in_one_line(text):
    said: list[str] = []
    GitHub(said.append).failed(text)
    assert len(said) == 1
    assert said[0].startswith("::error title=lrscout::")
    assert is_legible(said[0])
    assert not runs_commands(said[0].removeprefix("::error"))


@given(st.sampled_from(HOSTILE) | st.text())
def test_an_output_of_github_is_one_legible_line(text):
    made = github_outputs([("winner", text)])
    assert made.count("\n") == 1
    assert is_legible(made)


@given(st.text("ab#[:] \n\r\t\\", max_size=12))
def test_no_text_is_run_as_a_command_by_github(text):
    assert not runs_commands(escape_commands(text))


def test_many_empty_lines_are_escaped_in_linear_time():
    assert escape_commands("\n" * 200_000 + "::x").endswith("\n\\::x")


@pytest.mark.parametrize("text", HOSTILE)
def test_messages_are_legible_and_stay_below_their_first_line(text):
    messages = io.StringIO()
    output = Output(None, messages, environ={"GITHUB_ACTIONS": "true", "FORCE_COLOR": "1"})
    text = text.strip(" ")
    output.note(text)
    output.warn(text)
    output.error(LrscoutError(text, hint=text))
    assert messages.getvalue().count("\n") == messages.getvalue().count("\n  ") + 4
    output.user_error(ValueError(text))
    said = messages.getvalue()
    assert is_legible(said, color=True)
    assert not runs_commands(said)
    assert "\x1b[31m" not in said
    assert "\x1b[8m" not in said


MISTAKES = [
    ["find-lr", "{}"],
    ["find-lr", "{}.py:build"],
    ["find-lr", "x:{}"],
    ["find-lr", "x:y", "-k", "{}"],
    ["find-lr", "x:y", "-k", "a={}"],
    ["find-lr", "x:y", "--{}"],
    ["find-lr", "x:y", "--steps", "{}"],
    ["find-lr", "x:y", "--refine", "{}"],
    ["find-lr", "x:y", "--rule", "{}"],
    ["find-lr", "x:y", "{}"],
    ["find-lr", "x:y", "-o", "/nowhere/{}"],
    ["find-lr", "x:y", "--recipe", "{}"],
    ["find-batch-size", "x:y", "--budget", "{}"],
    ["find-batch-size", "x:y", "--budget", "10{}"],
    ["find-batch-size", "x:y", "--margin", "{}"],
    ["find-batch-size", "x:y", "--prefer", "{}"],
    ["find-batch-size", "x:y", "--time-budget", "{}"],
    ["compare-schedulers", "x:y", "-s", "{}"],
    ["compare-schedulers", "x:y", "-s", "cosine:{}=1"],
    ["compare-schedulers", "x:y", "--fail-if", "{}"],
    ["compare-schedulers", "x:y", "--jobs", "{}"],
    ["compare-schedulers", "x:y", "--metric-regex", "{}"],
    ["preview", "-s", "{}"],
    ["preview", "-s", "cosine:min_ratio={}"],
    ["preview", "--steps", "{}"],
    ["show", "{}"],
    ["show", "--width", "{}"],
    ["run", "--from", "{}"],
    ["{}"],
    ["--{}"],
]


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
@by_texts
def test_no_argument_reaches_the_terminal_unescaped(arguments, texts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in texts:
        text = text.replace("\0", "")
        code, out, err = run([word.replace("{}", text) for word in arguments])
        assert code in (1, 2, 3), (text, out, err)
        assert is_legible(out + err), ascii(err)
        assert not runs_commands(out + err), ascii(err)


@pytest.mark.parametrize(
    ("command", "key"),
    [("find_batch_size", key) for key in ("budget", "margin", "mode")]
    + [("find_lr", "device"), ("find_lr", "optimizer")],
)
@by_texts
def test_no_text_of_a_recipe_reaches_the_terminal_unescaped(command, key, texts, tmp_path):
    for text in texts:
        recipe = tmp_path / "r.yaml"
        settings = {"version": 1, "target": "math:pi", command: {key: text}}
        recipe.write_text(json.dumps(settings), encoding="utf-8")
        code, out, err = run([command.replace("_", "-"), "--recipe", str(recipe)])
        assert code != 0
        assert is_legible(out + err), ascii(err)
        assert not runs_commands(out + err), ascii(err)


@by_texts
def test_no_file_name_reaches_the_terminal_unescaped(texts, tmp_path):
    for text in texts:
        path = tmp_path / text.replace("/", "").replace("\0", "")[:100]
        save(RECORDS["run"], path)
        code, out, err = run(["show", str(path)])
        assert code == 0
        assert is_legible(out + err), ascii(err)
        assert not runs_commands(out + err)
        assert err.count("\n") == err.count("\n  ") + 2  # the name and a warning


@pytest.mark.parametrize("where", ["import", "build", "step"])
def test_no_exception_or_class_name_of_a_target_reaches_the_terminal_unescaped(where, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, text in enumerate(["::error::x", ALL_AT_ONCE]):
        body = f"def fail():\n    raise type({text!r}, (Exception,), {{}})({text!r})\n"
        body += "class Model(__import__('torch').nn.Module):\n    def forward(self, x):\n        fail()\n"
        body += "def build():\n    " + ("fail()" if where == "build" else "return Model(), [1, 2]") + "\n"
        Path(f"hostile{number}.py").write_text(body + ("fail()\n" if where == "import" else ""), encoding="utf-8")
        code, out, err = run(["find-lr", f"hostile{number}.py:build", "--json"])
        assert code in (1, 3), err
        assert is_legible(out + err), ascii(err)
        assert not runs_commands(out + err)
        assert not out or json.loads(out)


@given(st.text() | st.sampled_from(HOSTILE))
def test_json_of_any_text_reads_back_the_same(text):
    record = with_texts(RECORDS["run"], lambda _: text)
    made = to_json(record)
    assert is_legible(made)
    assert from_json(made).warnings == record.warnings


def test_names_of_the_environment_are_escaped_too(monkeypatch):
    monkeypatch.setitem(os.environ, "LRSCOUT_\x1b[31m", "x")
    _, _, err = run(["find-lr", "x:y"])
    assert is_legible(err)
