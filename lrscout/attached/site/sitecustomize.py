"""Runs at the start of every Python that lrscout's command starts, and attaches as soon as torch has been imported.

Most of these Pythons never train anything: a launcher, a data server, `uv run`. So this does next to nothing until
torch is imported, and no failure of it ever reaches the program.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # importing typing would take longer than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    TakePart = Callable[[Callable[[], None]], None]  # in the loading of a module, which its argument does

HERE = os.path.dirname(os.path.abspath(__file__))
ADDRESS = os.environ.get("LRSCOUT_ATTACH_ADDRESS")
FOLDER = os.environ.get("LRSCOUT_ATTACH_FOLDER")  # on the parent's machine
MEASURED = os.environ.get("LRSCOUT_ATTACH_MEASURED")  # the memory of what, and its limit
PROTECTED = os.environ.get("LRSCOUT_ATTACH_PROTECT")  # for notes of what was kept; not set in a real training
protecting = None
PACKAGE = "_lrscout_attached"


class TorchWatch:
    """A finder that finds only the watched modules, where the others find them, and takes part in their loading."""

    def __init__(self, watched: dict[str, TakePart]) -> None:
        self._watched = watched

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in self._watched:
            return None
        others: list[Any] = [finder for finder in sys.meta_path if finder is not self]
        spec: Any = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None:
            execute, take_part = spec.loader.exec_module, self._watched[name]
            spec.loader.exec_module = lambda module: take_part(lambda: execute(module))
        return spec


def attach_after(load: Callable[[], None]) -> None:
    load()
    try:
        leave_trace("torch")
        part("agent").attach(ADDRESS, os.environ.get("LRSCOUT_ATTACH_TOKEN", ""))
        if PROTECTED:
            protection().cover(sys.modules["torch"], "save", "f")
    except Exception:
        complain()


def protect_after(load: Callable[[], None]) -> None:
    """Protect checkpoints from what safetensors writes, too."""
    load()
    try:
        protection().cover(sys.modules["safetensors.torch"], "serialize_file", "filename")
    except Exception:
        complain()


def protection() -> Any:
    """What protects the user's files in this process, from the first call on."""
    global protecting
    if protecting is None:
        home, since = os.environ["LRSCOUT_ATTACH_HOME"], float(os.environ["LRSCOUT_ATTACH_SINCE"])
        protecting = part("protection").Protection(PROTECTED, home, since)
    return protecting


def measure_after(load: Callable[[], None]) -> None:
    load()
    try:
        part("measuring").begin(MEASURED)
        leave_trace("measured")
    except Exception:
        complain()


def leave_out(load: Callable[[], None]) -> None:
    if PACKAGE + ".measuring" in sys.modules:
        part("measuring").uncounted(load)
    else:
        load()


def part(name: str) -> Any:
    """One of the files beside this folder, loaded by path."""
    import importlib.util

    if PACKAGE not in sys.modules:
        folder = os.path.dirname(HERE)
        spec: Any = importlib.util.spec_from_file_location(
            PACKAGE, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )
        sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[PACKAGE])
    return importlib.import_module(f"{PACKAGE}.{name}")


def leave_trace(what: str) -> None:
    """Leave an empty file, by which the parent tells what it has started."""
    try:
        open(f"{FOLDER}/{what}.{os.getpid()}", "w").close()
    except OSError:  # the parent is gone, or this is another machine
        complain()


def complain() -> None:
    if os.environ.get("LRSCOUT_DEBUG"):
        import traceback

        traceback.print_exc()


def run_next() -> None:
    """Run the sitecustomize that this one hides; Python imports only the first on the path."""
    from importlib.machinery import PathFinder

    others = [place for place in sys.path if os.path.abspath(place) != HERE]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        from importlib.util import module_from_spec

        sys.modules["sitecustomize"] = module = module_from_spec(spec)
        spec.loader.exec_module(module)  # what it raises is for Python to report, as it would without us


if ADDRESS:
    leave_trace("python")
    watched: dict[str, TakePart] = {"torch.optim.optimizer": attach_after}
    if MEASURED:  # torch._dynamo is imported with the first optimizer and takes 70 MB, what FSDP needs takes 40 MB
        watched.update({"torch": measure_after, "torch._dynamo": leave_out, "torch.distributed.fsdp": leave_out})
    if PROTECTED:
        watched["safetensors.torch"] = protect_after
    sys.meta_path.insert(0, TorchWatch(watched))
run_next()
