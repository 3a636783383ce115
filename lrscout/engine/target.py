"""From a dotted path to the user's object: import it, and call it with the user's arguments.

Grammar: `pkg.mod:attr`, `pkg.mod:Class.method`, `path/to/file.py:attr`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from lrscout.errors import TargetError, TargetImportError, did_you_mean, perhaps
from lrscout.results import Target

GRAMMAR = "A target is pkg.mod:attr, pkg.mod:Class.method or path/to/file.py:attr."

LISTED = 20  # attributes of a module or class; of more than that, only a close one is named


def load_target(target: Target) -> Any:
    """Import the target and, where it is a callable, call it; a class is instantiated.

    Exceptions of a function that is called pass through; one at import is the cause of a TargetImportError.

    Raises:
        TargetError: the path does not lead to an object, or the arguments do not fit it.
    """
    return make_target(find_target(target), target)


def find_target(target: Target) -> Any:
    """The object that the path names, not called yet.

    Raises:
        TargetError: malformed path, missing module or file, missing attribute.
    """
    path = target.path or ""
    place, colon, attributes = path.rpartition(":")
    if not colon or not place or not attributes:
        raise TargetError(f"{path!r} is not a target.", hint=_likely(path))
    _put_first_on_path(Path(target.app_dir or "."))
    module = _import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    found: Any = module
    for name in attributes.split("."):
        found = _attribute(found, name, path)
    return found


def _likely(path: str) -> str:
    """The hint for a path without its colon."""
    place, dot, attribute = path.rpartition(".")
    if ":" in path or not path:
        return GRAMMAR
    if attribute == "py" or not dot:
        return f"{GRAMMAR} Perhaps {path}:build?"
    return f"{GRAMMAR} Did you mean {place}:{attribute}?"


def make_target(found: Any, target: Target) -> Any:
    """Call what was found with the target's arguments; an object that is no callable is used as it is."""
    if not is_factory(found):
        if target.kwargs:
            raise TargetError(
                f"{target.path} is {_describe(found)} and takes no arguments, but got: {', '.join(target.kwargs)}.",
                hint="Point at a function that builds it, or leave out -k/--kwarg.",
            )
        return found
    return _call(found, target.kwargs, str(target.path))


def _call(found: Any, kwargs: Mapping[str, Any], path: str) -> Any:
    _check_arguments(found, kwargs, path)
    try:
        return found(**kwargs)
    except SystemExit as error:
        raise TargetError(
            f"{path} called sys.exit({error.code!r}).",
            hint="Point at a function that only builds the workload and does not run a script.",
        ) from error


def is_factory(found: Any) -> bool:
    """Whether what a target names is to be called for the workload."""
    # a module, like any object with weights, is callable with a batch and not with arguments
    return inspect.isclass(found) or (callable(found) and not hasattr(found, "named_parameters"))


def _check_arguments(found: Any, kwargs: Mapping[str, Any], path: str) -> None:
    """Bind the arguments before the call, so that a TypeError inside the user's code stays the user's."""
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # built-ins without a signature
        return
    try:
        signature.bind(**kwargs)
    except TypeError as error:
        names = tuple(n for n, p in signature.parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL))
        unknown = [name for name in kwargs if name not in names]
        hint = did_you_mean(unknown[0], names) if unknown else "Give it with -k name=value (--kwarg)."
        raise TargetError(f"{path}{signature} cannot be called: {error}.", hint=hint) from None


def _put_first_on_path(folder: Path) -> None:
    if not folder.is_dir():
        raise TargetError(f"The folder {str(folder)!r} does not exist.", hint="Check --app-dir.")
    entry = os.path.abspath(folder)
    if entry in sys.path:
        sys.path.remove(entry)
    sys.path.insert(0, entry)


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        looks_like_file = "/" in name or os.sep in name or Path(f"{name}.py").exists()
        hint = "A file is named with its ending: path/to/file.py:attr." if looks_like_file else GRAMMAR
        raise TargetError(f"{name!r} is not the name of a module.", hint=hint)
    try:
        return _run_import(name)
    except ModuleNotFoundError as error:
        known = tuple(p.stem for p in Path(sys.path[0]).iterdir() if p.suffix == ".py" or (p / "__init__.py").exists())
        meant = perhaps(name, known) if name == error.name else None
        looked = f"Looked in {sys.path[0]} and the installed packages; --app-dir DIR looks elsewhere."
        hint = " ".join(filter(None, [meant, looked]))
        raise TargetError(f"There is no module {error.name!r}.", hint=hint) from None


def _import_file(path: Path) -> ModuleType:
    """Import a file under its real name, so that worker processes started by spawn can import it too."""
    path = path.expanduser()
    if not path.is_file():
        raise TargetError(f"There is no file {str(path)!r}.", hint=_nearby_files(path))
    resolved = path.resolve()
    names, folder = [resolved.stem], resolved.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    if resolved.stem == "__init__":
        names.pop()
    if any("." in name for name in names):
        raise TargetError(f"{path.name!r} cannot be imported: its name has a dot.", hint="Rename the file.")
    _put_first_on_path(folder)
    name = ".".join(names)
    try:
        module = _run_import(name)
    except ModuleNotFoundError:  # a package of the same name from elsewhere, which holds no such module
        module = sys.modules[names[0]]
    origin = getattr(module, "__file__", None)
    if origin is None or Path(origin).resolve() != resolved:
        raise TargetError(
            f"{path} cannot be imported as {name!r}: that name is taken by {origin or 'a built-in module'}.",
            hint="Rename the file or its package.",
        )
    return module


def _run_import(name: str) -> ModuleType:
    importlib.invalidate_caches()  # the file may be a second old
    try:
        return importlib.import_module(name)
    except SystemExit as error:
        raise TargetError(
            f"Importing {name!r} called sys.exit({error.code!r}).",
            hint='Put what runs as a script under `if __name__ == "__main__":`.',
        ) from error
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise  # the module asked for, which the caller can explain
        raise _import_failed(name, error) from error
    except Exception as error:
        raise _import_failed(name, error) from error


def _import_failed(name: str, error: Exception) -> TargetImportError:
    return TargetImportError(f"Importing {name!r} failed with {type(error).__name__}.")


def _nearby_files(path: Path) -> str | None:
    folder = path.parent
    if not folder.is_dir():
        return f"There is no folder {str(folder)!r} either, seen from {os.getcwd()}."
    names = tuple(sorted(p.name for p in folder.glob("*.py")))
    return did_you_mean(path.name, names) if names else f"The folder {str(folder)!r} holds no .py file."


def _attribute(owner: Any, name: str, path: str) -> Any:
    try:
        found = getattr(owner, name)
    except AttributeError:
        if inspect.ismodule(owner):
            known = tuple(n for n in vars(owner) if not n.startswith("_"))
            where = f"The module {owner.__name__!r}"
        else:
            known = tuple(n for n in dir(owner) if not n.startswith("_"))
            described = _describe(owner)
            where = described[0].upper() + described[1:]
        raise TargetError(f"{where} has no attribute {name!r}.", hint=_known_attributes(name, known)) from None
    if inspect.isclass(owner) and inspect.isfunction(inspect.getattr_static(owner, name)):
        return getattr(_call(owner, {}, path.rpartition(".")[0]), name)  # a method needs its object
    return found


def _known_attributes(name: str, known: tuple[str, ...]) -> str | None:
    return did_you_mean(name, known) if len(known) <= LISTED else perhaps(name, known)


def _describe(found: Any) -> str:
    return f"the class {found.__name__!r}" if inspect.isclass(found) else f"an object of type {type(found).__name__!r}"
