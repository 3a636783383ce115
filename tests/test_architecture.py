"""The house rules: who may import whom, and what stays out of memory until it is needed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "lrscout"
MODULES = sorted(PACKAGE.rglob("*.py"))

OWNERS = {
    "torch": ("engine/", "attached/", "ranks/", "templates/"),
    "rich": ("report/",),
    "plotext": ("report/plot.py",),
    "matplotlib": ("report/figure.py",),
    "tensorboard": ("report/events.py",),
    "ray": ("processes/ray_",),
    "yaml": ("yaml_nodes.py",),
}

ATTACHED = {module.stem for module in (PACKAGE / "attached").glob("*.py")}


def rooms() -> dict[str, set[str]]:
    """The table of docs/architecture.md: a room, and what of lrscout it may import."""
    found = {}
    for line in (PACKAGE.parent / "docs/architecture.md").read_text(encoding="utf-8").splitlines():
        row = re.fullmatch(r"\| `([a-z_]+)(?:/|\.py)` \|.*\| ((?:`[a-z_]+`(?:, )?)*) ?\|", line)
        if row:
            found[row[1]] = {row[1], *re.findall("[a-z_]+", row[2])}
    return found


def imports(module: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # the program that attached/ runs in loads it under another name
            assert node.level == (PACKAGE / "attached" in module.parents and node.module in ATTACHED), module
            if node.level == 0:
                found.add(node.module or "")
    return found


def place(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_each_library_is_imported_only_by_its_room(module):
    for name in imports(module):
        library = name.split(".")[0]
        assert place(module).startswith(OWNERS.get(library, ("",))), f"{library} in {place(module)}"


def room(name: str) -> str:
    return name.split(".")[0].split("/")[0]


def test_the_table_of_the_architecture_lists_all_rooms():
    assert set(rooms()) == {room(place(m)) for m in MODULES} - {"__init__", "__main__"}


@pytest.mark.parametrize("module", [m for m in MODULES if m.parent != PACKAGE or m.stem[0] != "_"], ids=place)
def test_a_room_imports_only_what_the_table_allows(module):
    allowed = rooms()[room(place(module))]
    for name in imports(module):
        if name.startswith("lrscout."):  # lrscout itself has its version and its place
            assert room(name.removeprefix("lrscout.")) in allowed, f"{place(module)} imports {name}"


def test_modules_and_functions_keep_to_their_sizes():
    for module in MODULES:
        text = module.read_text(encoding="utf-8")
        limit = 350 if module.name == "session.py" else 280
        assert text.count("\n") <= limit, place(module)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or 0) - node.lineno
                assert length <= 50, f"{place(module)}:{node.name} has {length} lines"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["find-lr", "--help"],
        ["compare-schedulers", "--help"],
        ["compare-schedulers", "mymod:build", "-s", "cosine"],
        ["schedules", "--help"],
        ["preview", "--help"],
        ["find-lr", "--steps", "x"],
        ["find-lr"],
        ["show", "nowhere"],
        ["preview", "-s", "cosin"],
        ["find-batch-size", "--help"],
        ["run", "--help"],
        ["check", "--help"],
        ["check", "--steps", "x", "a:b"],
        ["run", "--lr", "x", "--", "python", "x.py"],
        ["run", "--lr", "1", "--steps", "9"],
        ["find-batch-size", "--budget", "x", "a:b"],
    ],
    ids=" ".join,
)
def test_help_version_and_usage_errors_import_neither_torch_nor_plotext(arguments):
    code = (
        "import sys; from lrscout.cli import main; code = main(sys.argv[1:]);"
        "print('HEAVY', sorted({'torch', 'plotext', 'rich', 'yaml', 'numpy'} & set(sys.modules)), 'CODE', code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr
    assert f"CODE {0 if 'help' in arguments[-1] or 'version' in arguments[-1] else 2}" in done.stdout


def test_import_lrscout_is_cheap():
    code = "import sys, lrscout; print(sorted({'torch', 'typer', 'rich', 'plotext', 'yaml'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
