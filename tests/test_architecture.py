"""The house rules: who may import whom, and what stays out of memory until it is needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "lrscout"
MODULES = sorted(PACKAGE.rglob("*.py"))

OWNERS = {"torch": "engine/", "rich": "report/", "plotext": "report/plot.py", "yaml": "yaml_nodes.py", "typer": ""}
BELOW = {  # a room, and what of lrscout it may import
    "results/": ("results",),
    "errors.py": (),
    "formatting.py": (),
    "search/": ("results", "errors", "formatting", "schedules", "search"),
    "schedules/": ("errors", "schedules"),
    "settings/": ("results", "errors", "search", "schedules", "settings"),
    "processes/": ("errors", "tracebacks", "processes"),
    "engine/": ("results", "errors", "schedules", "settings", "processes", "engine", ""),  # "": the version
    "tracebacks.py": ("errors", ""),
    "yaml_nodes.py": (),
    "recipes.py": ("errors", "settings", "yaml_nodes"),
    "records.py": ("results", "errors"),
    "runs/": (
        "results",
        "errors",
        "formatting",
        "records",
        "schedules",
        "search",
        "settings",
        "processes",
        "engine",
        "runs",
    ),
    "report/": ("results", "errors", "formatting", "tracebacks", "schedules", "search", "report", ""),
}


def imports(module: Path) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            found.add(node.module or "")
    return found


def place(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_each_library_is_imported_only_by_its_room(module):
    for name in imports(module):
        library = name.split(".")[0]
        assert place(module).startswith(OWNERS.get(library, "")), f"{library} in {place(module)}"


@pytest.mark.parametrize("module", MODULES, ids=place)
def test_a_room_imports_only_what_lies_below_it(module):
    allowed = next((rooms for room, rooms in BELOW.items() if place(module).startswith(room)), None)
    if allowed is None:
        pytest.skip("commands, cli, api and the package itself may import everything")
    for name in imports(module):
        if name.split(".")[0] == "lrscout":
            room = name.partition(".")[2].split(".")[0]
            assert room in allowed, f"{place(module)} imports {name}"


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
