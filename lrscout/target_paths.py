"""How a target is written, and what its file defines, which is found out without importing it."""

from __future__ import annotations

import ast
import os

GRAMMAR = "Write a target as pkg.mod:attr, pkg.mod:Class.method or path/to/file.py:attr."
MOST_NAMED = 8  # functions that a hint lists


def defined_in(path: str) -> list[str]:
    """The public functions and classes at the top level of a file, in their order; none of what cannot be read."""
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def is_path(target: str) -> bool:
    """Whether a target is meant as a path to code, right or wrong, and not as the name of one in a recipe."""
    return ":" in target or target.endswith(".py")


def hint_for(path: str) -> str:
    """The hint for a path that is no target; if only the colon is missing, what was probably meant."""
    module, dot, attribute = path.rpartition(".")
    if ":" in path or not path:
        return GRAMMAR
    if attribute == "py":
        return _hint_for_file(path)
    if not dot:
        return f"{GRAMMAR} Did you mean {path}:build?"
    return f"{GRAMMAR} Did you mean {module}:{attribute}?"


def _hint_for_file(path: str) -> str:
    if not os.path.isfile(path):
        return f"{GRAMMAR} There is no file {path} either."
    names = defined_in(path)
    if not names:
        return f"{GRAMMAR} {path} defines no function or class at its top level."
    if "build" in names or len(names) == 1:
        return f"{GRAMMAR} Did you mean {path}:{'build' if 'build' in names else names[0]}?"
    listed = ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
    return f"Name what builds the workload: {path}:NAME, where it defines {listed}."
