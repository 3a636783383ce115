"""README and docs: what they show runs, the options that they name exist, and their links lead somewhere."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
import runpy
import shlex
import symtable
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import lrscout
from lrscout.cli import app
from lrscout.commands import COMMANDS
from lrscout.commands import run as commands_run
from lrscout.recipes import load_recipe
from lrscout.records import save
from lrscout.results import CommandTarget, LrResult, RunRecord, Suggestion
from lrscout.settings import COMMANDS as SETTINGS
from lrscout.settings import fields_of, make_settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
GENERATE = runpy.run_path(str(ROOT / "docs/generate.py"))


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(page, text[: found.start()].count("\n") + 1, found[1], found[2])


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
YAML = [block for block in BLOCKS if block.language == "yaml"]


def prose_of(page: Path) -> str:
    """A page without its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def command_lines(text: str) -> Iterator[list[str]]:
    """Every call of lrscout in a shell's text, as words; what surrounds it there is left out."""
    prompt = r"\$ " if re.search(r"^\$ ", text, re.MULTILINE) else ""  # what else stands there has been printed
    for line in text.replace("\\\n", " ").splitlines():
        if not re.match(prompt + r"([A-Z]+=\$\()?lrscout ", line):
            continue
        parts = shlex.shlex(line, posix=True, punctuation_chars=True)
        parts.whitespace_split = True
        words = [*parts]
        words = words[words.index("lrscout") + 1 :]
        end = next((at for at, word in enumerate(words) if set(word) <= set("();<>|&")), len(words))
        yield words[:end]


LINES = [
    pytest.param(words, id=f"{block}: {shlex.join(words)}")
    for block in BLOCKS
    if block.language in ("", "sh", "bash", "console", "text")
    for words in command_lines(block.text)
]
MENTIONED = [
    pytest.param(words, id=f"{page.relative_to(ROOT)}: {shlex.join(words)}")
    for page in PAGES
    for found in re.findall(r"(?<!`)`(lrscout [a-z][^`]*)`", prose_of(page))
    for words in command_lines(found.replace("\n", " "))
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the pages suppose to be there: the files of `lrscout init`, the recipes, and a record of find-lr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    for name in ("tuning.py", "lrscout.yaml"):
        (tmp_path / name).write_text((ROOT / "lrscout/templates" / name).read_text(encoding="utf-8"))
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    for name in ("run.yaml", "tuned.yaml"):
        (tmp_path / name).write_text("version: 1\ntarget: tuning.py:build\n")
    found = LrResult(Suggestion(1e-3, "scout", "made up"), {}, (), "completed", 0, 0.0)
    target = CommandTarget(("python", "train.py"), str(tmp_path)).as_dict()
    settings = asdict(make_settings(SETTINGS["find_lr"], {"horizon": 20_000}))
    for name in ("lr.json", "base.json"):
        save(RunRecord("find-lr", "ok", target, settings, {}, found), tmp_path / name)
    return tmp_path


class ReadError(Exception):
    """The command line was read, and its command would now run."""


def read(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a command line to where its command would run."""

    def stop(*arguments: Any, **more: Any) -> None:
        raise ReadError

    monkeypatch.setattr(commands_run, "load_view", stop)  # the first thing that a run does
    group: Any = typer.main.get_command(app)
    context = typer.Context(group)
    command = group.resolve_command(context, words[:1])[1]
    made = command.make_context(words[0], words[1:], parent=context)
    if words[0].replace("-", "_") in SETTINGS:
        with pytest.raises(ReadError):
            command.invoke(made)


@pytest.mark.parametrize("words", LINES)
def test_a_command_line_in_a_block_can_be_read(words, folder, monkeypatch):
    read(["100" if word == "N" else word for word in words], monkeypatch)  # a number for the reader to fill in


@pytest.mark.parametrize("words", MENTIONED)
def test_a_command_line_in_a_sentence_names_a_command_and_its_options(words, folder):
    group: Any = typer.main.get_command(app)
    command = group.resolve_command(typer.Context(group), words[:1])[1]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    own = words[: words.index("--")] if "--" in words else words
    named = {word.split("=")[0] for word in own if word.startswith("-")}
    assert named <= known | {"--help", "-h"}


def missing_names(text: str) -> set[str]:
    """What a block uses and neither defines nor imports."""
    top = symtable.symtable(text, "block", "exec")
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}

    def used(table: symtable.SymbolTable) -> set[str]:
        here = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (s.is_global() or table is top)}
        return here.union(*(used(child) for child in table.get_children()))

    return used(top) - bound - set(dir(builtins))


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_a_block_of_python_compiles_and_runs_where_it_is_complete(block, folder, monkeypatch):
    code = compile(block.text, str(block), "exec")
    if not missing_names(block.text):
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setitem(sys.modules, "tuning", None)  # so that it is put back
        del sys.modules["tuning"]
        exec(code, {"__name__": "block"})


def calls_in(text: str) -> Iterator[ast.Call]:
    """The calls of lrscout's own functions."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and re.fullmatch(r"lrscout\.\w+", ast.unparse(node.func)):
            yield node


CALLS = [
    pytest.param(call, id=f"{place}: {ast.unparse(call)}")
    for place, text in [
        *((str(block), block.text) for block in PYTHON),
        *(
            (str(page.relative_to(ROOT)), found.replace("...", ""))
            for page in PAGES
            for found in re.findall(r"(?<!`)`(lrscout\.\w+\([^`]*\))`", prose_of(page))
        ),
    ]
    for call in calls_in(text)
]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_in_the_pages_has_arguments_that_there_are(call):
    name = call.func.attr
    parameters = inspect.signature(getattr(lrscout, name)).parameters
    given = {word.arg: word.value for word in call.keywords if word.arg not in parameters}
    known = {field.name for field in fields_of(SETTINGS[name])} if name in SETTINGS else set()
    assert set(given) <= known
    values = {key: ast.literal_eval(value) for key, value in given.items() if isinstance(value, ast.Constant)}
    if values:
        make_settings(SETTINGS[name], values)


@pytest.mark.parametrize("block", YAML, ids=str)
def test_a_recipe_can_be_read_and_other_yaml_parsed(block, folder):
    if re.search("^version:", block.text, re.MULTILINE):
        (folder / "shown.yaml").write_text(block.text)
        load_recipe(folder / "shown.yaml")
    else:
        assert yaml.safe_load(block.text)


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings."""
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.+)$", prose_of(page), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.append(f"{anchor}-{found.count(anchor)}" if anchor in found else anchor)
    return set(found)


LINKS = [
    pytest.param(page, target, id=f"{page.relative_to(ROOT)} -> {target}")
    for page in PAGES
    for target in sorted(set(re.findall(r"\]\(([^)\s]+)\)", prose_of(page))))
    if not re.match("[a-z]+:", target)
]


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_a_link_within_the_pages_leads_somewhere(page, target):
    path, _, anchor = target.partition("#")
    place = (page.parent / path).resolve() if path else page
    assert place.is_relative_to(ROOT)
    assert place.exists()
    if anchor:
        assert anchor in anchors_of(place)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page_with_the_options_that_it_has(command):
    page = GENERATE["page_of"](command)
    assert page.exists(), f"{page} is missing: write it, then `make docs`"
    text = page.read_text(encoding="utf-8")
    assert text == GENERATE["rewritten"](command, text), "`make docs` brings it up to date"
    assert [*command_lines("\n".join(b.text for b in blocks_of(page)))], "it has no example"


def test_every_page_is_that_of_a_command_or_is_linked_from_another_page():
    linked = {(page.parent / t.partition("#")[0]).resolve() for page, t in (p.values for p in LINKS) if t[0] != "#"}
    known = {GENERATE["page_of"](command) for command in COMMANDS} | {ROOT / "README.md", ROOT / "CHANGELOG.md"}
    assert [p.name for p in PAGES if p not in linked | known] == []
