"""Loading targets: import the object that a dotted path names, and call it with the user's arguments.

Grammar: `pkg.mod:attr`, `pkg.mod:Class.method`, `path/to/file.py:attr`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from lrscout.engine.imports import (
    TrainedError,
    libraries_set_aside,
    own_arguments,
    steps_forbidden,
)
from lrscout.errors import TargetError, TargetImportError, did_you_mean, perhaps
from lrscout.processes.signal_handlers import own_signal_handlers
from lrscout.results import Target
from lrscout.target_paths import GRAMMAR, hint_for

MAX_LISTED = 20  # attributes that a hint lists; if there are more, it names only a close match


def load_target(target: Target, on_phase: Callable[[str], None] = lambda name: None) -> Any:
    """Import the target and call it; a class is instantiated, and an object that is not callable is returned.

    `on_phase` hears of the import, and of the call.

    Exceptions that the called function raises pass through.

    Raises:
        TargetError: the path does not name an object, or the arguments do not match its signature.
        TargetImportError: the user's code raised an exception while it was imported, which is the cause.
    """
    with own_arguments(target), own_signal_handlers():
        on_phase(f"importing {(target.path or '').rpartition(':')[0]}")
        found = find_target(target)
        on_phase(f"building {target.path}")
        return make_target(found, target)


def find_target(target: Target) -> Any:
    """Import the object that the path names, without calling it.

    Raises:
        TargetError: the path is malformed, the folder, module, file or attribute does not exist, or the import trains.
        TargetImportError: the user's code raised an exception while it was imported, which is the cause.
    """
    path = target.path or ""
    module_path, colon, attributes = path.rpartition(":")
    if not colon or not module_path or not attributes:
        raise TargetError(f"{path!r} is not a valid target.", hint=hint_for(path))
    _prepend_to_sys_path(Path(target.app_dir or "."))
    with own_arguments(target):
        found: Any = _import_file(Path(module_path)) if module_path.endswith(".py") else _import_module(module_path)
        for name in attributes.split("."):
            found = _attribute(found, name, path)
    return found


def make_target(found: Any, target: Target) -> Any:
    """Call the object that a target names with the target's arguments; an object that is not a factory is returned.

    Raises:
        TargetError: the arguments do not match its signature, or it takes none, or it called sys.exit.
    """
    if not is_factory(found):
        if target.kwargs:
            raise TargetError(
                f"{target.path} is {_describe(found)} and takes no arguments, but got: {', '.join(target.kwargs)}.",
                hint="Name a function that builds the workload, or leave out -k/--kwarg.",
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
            hint="Name a function that only builds the workload, without running a script.",
        ) from error


def is_factory(found: Any) -> bool:
    """Whether to call the object that a target names in order to get the workload."""
    # a torch module or another object with weights is callable too, but with a batch
    return inspect.isclass(found) or (callable(found) and not hasattr(found, "named_parameters"))


def _check_arguments(found: Any, kwargs: Mapping[str, Any], path: str) -> None:
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # built-ins without a signature
        return
    mismatch = call_mismatch(signature, (), kwargs)
    if mismatch is not None:
        reason, hint = mismatch
        message = f"{path}{signature} cannot be called: {reason}."
        raise TargetError(message, hint=hint or "Pass it with -k name=value (--kwarg).")


def call_mismatch(
    signature: inspect.Signature, positional: tuple[Any, ...], keywords: Mapping[str, Any]
) -> tuple[str, str | None] | None:
    """Why arguments do not match a signature, with a hint if one is unknown; None if they match.

    Checked before a call into user code, so that any TypeError during the call is the user's own.
    """
    try:
        signature.bind(*positional, **keywords)
    except TypeError as error:
        parameters = list(signature.parameters.values())[len(positional) :]
        names = [p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        unknown = [name for name in keywords if name not in names]
        return str(error), did_you_mean(unknown[0], names) if unknown else None
    return None


def _prepend_to_sys_path(folder: Path) -> None:
    if not os.path.isdir(folder):  # Path.is_dir raises what a name too long or a closed folder does
        raise TargetError(f"The folder {str(folder)!r} does not exist.", hint="Check --app-dir.")
    entry = os.path.abspath(folder)
    if entry in sys.path:
        sys.path.remove(entry)
    sys.path.insert(0, entry)


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        looks_like_file = "/" in name or os.sep in name or os.path.exists(f"{name}.py")
        hint = "Write a file with its extension: path/to/file.py:attr." if looks_like_file else GRAMMAR
        raise TargetError(f"{name!r} is not a valid module name.", hint=hint)
    try:
        return _run_import(name, f"-m {name}")
    except ModuleNotFoundError as error:
        meant = perhaps(name, _modules_in(Path(sys.path[0]))) if name == error.name else None
        searched = f"Searched {sys.path[0]} and the installed packages; use --app-dir DIR to search another folder."
        hint = " ".join(filter(None, [meant, searched]))
        raise TargetError(f"There is no module {error.name!r}.", hint=hint) from None


def _modules_in(folder: Path) -> tuple[str, ...]:
    # os.path.exists and glob pass over what may not be looked into
    return tuple(p.stem for p in folder.glob("*") if p.suffix == ".py" or os.path.exists(p / "__init__.py"))


def _import_file(path: Path) -> ModuleType:
    """Import a file under its real module name, so that spawned worker processes can import it too."""
    path = Path(os.path.expanduser(path))  # Path.expanduser raises for an unknown user
    if not os.path.isfile(path):
        raise TargetError(f"There is no file {str(path)!r}.", hint=_nearby_files(path))
    resolved = path.resolve()
    names, folder = [resolved.stem], resolved.parent
    while os.path.isfile(folder / "__init__.py"):
        names.insert(0, folder.name)
        folder = folder.parent
    if resolved.stem == "__init__":
        names.pop()
    if any("." in name for name in names):
        raise TargetError(f"{path.name!r} cannot be imported because its name contains a dot.", hint="Rename the file.")
    _prepend_to_sys_path(folder)
    name = ".".join(names)
    try:
        module = _run_import(name, shlex.quote(str(path)))
    except ModuleNotFoundError:  # the name of the package is taken by another one, which has no such module
        module = sys.modules[names[0]]
    origin = getattr(module, "__file__", None)
    if origin is None or Path(origin).resolve() != resolved:
        raise TargetError(
            f"{path} cannot be imported as {name!r}: that name is taken by {origin or 'a built-in module'}.",
            hint="Rename the file or its package.",
        )
    return module


def _run_import(name: str, script: str) -> ModuleType:
    """Import a module; `script` is what follows `python` on a command line that runs it."""
    importlib.invalidate_caches()  # the file may have been written a moment ago
    remedy = (
        'Move the part that runs as a script under `if __name__ == "__main__":`, '
        f"or search in the script as it stands: lrscout find-lr -- python {script}"
    )
    with libraries_set_aside(sys.path[0]):
        try:
            with steps_forbidden():
                return importlib.import_module(name)
        except TrainedError as error:
            raise TargetError(f"Importing {name!r} trains a model: {error}.", hint=remedy) from None
        except SystemExit as error:
            raise TargetError(f"Importing {name!r} called sys.exit({error.code!r}).", hint=remedy) from error
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
                raise  # the requested module itself: the caller explains it
            raise _import_failed(name, error) from error
        except Exception as error:
            raise _import_failed(name, error) from error


def _import_failed(name: str, error: Exception) -> TargetImportError:
    return TargetImportError(f"Importing {name!r} failed with {type(error).__name__}.")


def _nearby_files(path: Path) -> str | None:
    folder = path.parent
    if not os.path.isdir(folder):
        return f"There is no folder {str(folder)!r} either, relative to {os.getcwd()}."
    names = tuple(sorted(p.name for p in folder.glob("*.py")))
    return did_you_mean(path.name, names) if names else f"The folder {str(folder)!r} contains no .py files."


def _attribute(owner: Any, name: str, path: str) -> Any:
    try:
        found = getattr(owner, name)
    except AttributeError:
        described = f"the module {owner.__name__!r}" if inspect.ismodule(owner) else _describe(owner)
        subject = described[0].upper() + described[1:]
        raise TargetError(f"{subject} has no attribute {name!r}.", hint=_known_attributes(owner, name)) from None
    if inspect.isclass(owner) and inspect.isfunction(inspect.getattr_static(owner, name)):
        return getattr(_call(owner, {}, path.rpartition(".")[0]), name)  # a method needs an instance
    return found


def _known_attributes(owner: Any, name: str) -> str:
    """The attribute that is meant, as far as its name tells, or those that are defined there and not imported."""
    if inspect.ismodule(owner):
        everything, module = vars(owner), owner.__name__
    else:
        kind = owner if inspect.isclass(owner) else type(owner)
        everything, module = {each: inspect.getattr_static(owner, each, None) for each in dir(owner)}, kind.__module__
    known = tuple(each for each in everything if not each.startswith("_"))
    own = [each for each in known if getattr(everything[each], "__module__", None) == module]
    listed = known if len(known) <= MAX_LISTED else own[:MAX_LISTED]
    return perhaps(name, known) or did_you_mean(name, tuple(listed))


def _describe(found: Any) -> str:
    return f"the class {found.__name__!r}" if inspect.isclass(found) else f"an object of type {type(found).__name__!r}"
