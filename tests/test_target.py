"""A dotted path leads to the user's object; where it does not, the error says where it ended."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch._dynamo  # which the first optimizer imports: forgotten after a test, it could not be imported again
from torch.optim.optimizer import _global_optimizer_pre_hooks

from lrscout.engine.target import load_target
from lrscout.errors import LrscoutError, TargetError, TargetImportError
from lrscout.results import Target


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; what is imported from it is forgotten again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: str, text: str) -> Path:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def load(path: str, app_dir: str | None = None, **kwargs: Any) -> Any:
    return load_target(Target(path, kwargs, app_dir))


MODULE = """
VALUE = {"a": 1}

def build(size=1, **more):
    return "built", size, more

class Made:
    def __init__(self, size=1):
        self.size = size

    def method(self, scale=1):
        return self.size * scale

    @staticmethod
    def static(scale=1):
        return "static", scale

    @classmethod
    def named(cls):
        return cls.__name__

made = Made(5)
"""


@pytest.mark.parametrize(
    ("attribute", "kwargs", "expected"),
    [
        ("VALUE", {}, {"a": 1}),
        ("build", {}, ("built", 1, {})),
        ("build", {"size": 3, "other": 4}, ("built", 3, {"other": 4})),
        ("Made.method", {"scale": 2}, 2),
        ("Made.static", {"scale": 2}, ("static", 2)),
        ("Made.named", {}, "Made"),
        ("made.method", {"scale": 2}, 10),
        ("made.size", {}, 5),
    ],
)
@pytest.mark.parametrize("place", ["pkg.sub.mod", "pkg/sub/mod.py", "./pkg/sub/../sub/mod.py"])
def test_path_leads_to_a_value_or_calls_a_callable(
    place: str, attribute: str, kwargs: dict[str, Any], expected: Any
) -> None:
    for package in ("pkg", "pkg/sub"):
        write(f"{package}/__init__.py", "")
    write("pkg/sub/mod.py", MODULE)
    assert load(f"{place}:{attribute}", **kwargs) == expected


def test_class_is_instantiated_with_the_arguments() -> None:
    write("mod.py", MODULE)
    assert load("mod:Made", size=7).size == 7


def test_model_is_used_as_it_is_although_it_is_callable_and_its_class_is_called() -> None:
    write("mod.py", "import torch\nclass Net(torch.nn.Linear): pass\nmodel = Net(1, 1)\n")
    assert type(load("mod:model")).__name__ == "Net"
    assert load("mod:Net", in_features=3, out_features=2).weight.shape == (2, 3)


def test_callable_that_tells_nothing_of_its_arguments_is_called_all_the_same() -> None:
    write("mod.py", "build = dict\n")
    assert load("mod:build", size=3) == {"size": 3}


def test_file_is_imported_under_its_real_name() -> None:
    write("outer/pkg/__init__.py", "")
    write("outer/pkg/helper.py", "VALUE = 3")
    write("outer/pkg/mod.py", "from .helper import VALUE\nclass Here: pass\ndef build(): return VALUE, Here.__module__")
    assert load("outer/pkg/mod.py:build") == (3, "pkg.mod")


def test_file_finds_its_neighbours_and_the_current_folder() -> None:
    write("scripts/neighbour.py", "A = 1")
    write("library.py", "B = 2")
    write("scripts/my-train.py", "import neighbour, library\nboth = [neighbour.A, library.B]")
    assert load("scripts/my-train.py:both") == [1, 2]


def test_package_may_be_named_by_its_init_file() -> None:
    write("pkg/__init__.py", "value = [__name__]")
    assert load("pkg/__init__.py:value") == ["pkg"]


def test_app_dir_goes_before_everything_else() -> None:
    write("mod.py", "value = ['here']")
    write("app/mod.py", "value = ['app']")
    assert load("mod:value", app_dir="app") == ["app"]
    assert sys.path[0] == str(Path("app").absolute())


def test_current_folder_goes_before_everything_else() -> None:
    write("elsewhere/mod.py", "value = ['elsewhere']")
    write("mod.py", "value = ['here']")
    sys.path.insert(0, str(Path("elsewhere").absolute()))
    assert load("mod:value") == ["here"]


@pytest.mark.parametrize("path", ["", "mod", "mod:", ":build", "mod.py", "a b:build"])
def test_malformed_path_shows_the_grammar(path: str) -> None:
    with pytest.raises(TargetError) as raised:
        load(path)
    assert "pkg.mod:attr" in str(raised.value.hint)
    assert raised.value.exit_code == 3


ERRORS = [
    ("nowhere:build", "There is no module 'nowhere'"),
    ("mod.sub:build", "There is no module 'mod.sub'"),
    ("nowhere.sub:build", "There is no module 'nowhere'"),
    ("nowhere.py:build", "There is no file 'nowhere.py'"),
    ("modd.py:build", "Did you mean 'mod.py'"),
    ("missing/mod.py:build", "no folder 'missing' either"),
    (f"{'x' * 300}.py:build", "There is no file 'xxx"),
    (f"{'x' * 300}/mod.py:build", "no folder 'xxx"),
    (f"{'-' * 300}:build", "is not a valid module name"),
    ("~nobody-here/mod.py:build", "There is no file '~nobody-here/mod.py'"),
    ("mod/build:build", "Write a file with its extension"),
    ("mod:biuld", "(?s)module 'mod' has no attribute 'biuld'.*Did you mean 'build'"),
    ("mod:Made.methd", "(?s)class 'Made' has no attribute 'methd'.*Did you mean 'method'"),
    ("mod:made.siz", "(?s)type 'Made' has no attribute 'siz'.*Did you mean 'size'"),
]


@pytest.mark.parametrize(("path", "message"), ERRORS)
def test_path_that_leads_nowhere_says_where_it_ended(path: str, message: str) -> None:
    write("mod.py", MODULE)
    with pytest.raises(TargetError, match=message) as raised:
        load(path)
    assert not raised.value.shows_cause


def test_of_many_attributes_those_that_are_defined_there_are_named() -> None:
    write("mod.py", f"from os import *\n{MODULE}")
    with pytest.raises(TargetError, match="has no attribute 'zzz'") as raised:
        load("mod:zzz")
    assert "build" in str(raised.value.hint)
    assert "listdir" not in str(raised.value.hint)


def test_folder_that_may_not_be_looked_into_is_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "lost+found").mkdir()
    stat = os.stat

    def refused(path: Any, *args: Any, **more: Any) -> os.stat_result:
        if "lost+found/" in str(path):
            raise PermissionError(13, "Permission denied", str(path))  # root may look anywhere
        return stat(path, *args, **more)

    monkeypatch.setattr(os, "stat", refused)
    with pytest.raises(TargetError, match="There is no module 'nowhere'"):
        load("nowhere:build")


def test_app_dir_that_is_not_there_is_an_error() -> None:
    with pytest.raises(TargetError, match="folder 'nowhere' does not exist"):
        load("mod:value", app_dir="nowhere")
    with pytest.raises(TargetError, match=r"folder 'x*' does not exist"):
        load("mod:value", app_dir="x" * 300)


CALLS = [
    ("build", {}, "missing a required argument: 'size'"),
    ("build", {"size": 1, "scal": 2}, "(?s)unexpected keyword argument 'scal'.*Did you mean 'scale'"),
    ("Made", {}, "missing a required argument: 'size'"),
    ("Made.method", {}, "missing a required argument: 'size'"),
    ("VALUE", {"size": 1}, "object of type 'int' and takes no arguments, but got: size"),
]


@pytest.mark.parametrize(("attribute", "kwargs", "message"), CALLS)
def test_arguments_that_do_not_fit_are_named_before_the_call(
    attribute: str, kwargs: dict[str, Any], message: str
) -> None:
    write(
        "mod.py",
        "VALUE = 1\ndef build(size, scale=1): raise AssertionError\n"
        "class Made:\n    def __init__(self, size): raise AssertionError\n    def method(self): pass\n",
    )
    with pytest.raises(TargetError, match=message):
        load(f"mod:{attribute}", **kwargs)


def test_type_error_inside_the_users_function_stays_the_users() -> None:
    write("mod.py", "def build(size):\n    return len(size)\n")
    with pytest.raises(TypeError, match="has no len") as raised:
        load("mod:build", size=1)
    assert not isinstance(raised.value, LrscoutError)


IMPORT_FAILURES = [
    ("import not_there_at_all", ModuleNotFoundError),
    ("import mod.not_there", ModuleNotFoundError),
    ("from os import not_there", ImportError),
    ("1 / 0", ZeroDivisionError),
    ("def broken(:", SyntaxError),
    ("raise ModuleNotFoundError('mine')", ModuleNotFoundError),
]


@pytest.mark.parametrize("place", ["mod", "mod.py"])
@pytest.mark.parametrize(("text", "cause"), IMPORT_FAILURES)
def test_failure_inside_the_users_module_keeps_its_traceback(place: str, text: str, cause: type[Exception]) -> None:
    write("mod.py", text)
    with pytest.raises(TargetImportError, match=f"Importing 'mod' failed with {cause.__name__}") as raised:
        load(f"{place}:build")
    assert type(raised.value.__cause__) is cause
    assert raised.value.shows_cause


EXITS = [
    ("import sys\nsys.exit(0)", "Importing 'mod' called sys.exit"),
    ("def build():\n    raise SystemExit(3)", r"mod:build called sys.exit\(3\)"),
]


@pytest.mark.parametrize(("text", "message"), EXITS)
def test_sys_exit_is_an_error_and_no_exit(text: str, message: str) -> None:
    write("mod.py", text)
    with pytest.raises(TargetError, match=message):
        load("mod:build")


READS_ITS_ARGUMENTS = """
import argparse, sys
parser = argparse.ArgumentParser()
parser.add_argument("--size", type=int, default=3)
imported = [sys.argv, parser.parse_args().size]
def build():
    return [sys.argv, parser.parse_args().size]
class Made:
    def __init__(self): self.size = parser.parse_args().size
    def build(self): return [sys.argv, self.size]
"""


@pytest.mark.parametrize("attribute", ["imported", "build", "Made.build"])
@pytest.mark.parametrize("place", ["scripts/mod.py", "scripts.mod"])
def test_target_reads_no_arguments_of_lrscouts(monkeypatch: pytest.MonkeyPatch, place: str, attribute: str) -> None:
    write("scripts/mod.py", READS_ITS_ARGUMENTS)
    ours = ["lrscout", "find-lr", "scripts/mod.py:build", "--steps", "3"]
    monkeypatch.setattr(sys, "argv", ours)
    assert load(f"{place}:{attribute}") == [[place], 3]
    assert sys.argv is ours


@pytest.mark.parametrize("text", ["1 / 0", "raise SystemExit", "import sys; sys.argv = []; build = 1 / 0"])
def test_arguments_are_back_when_an_import_fails(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "argv", ["lrscout", "find-lr"])
    write("mod.py", text)
    with pytest.raises(TargetError):
        load("mod:build")
    assert sys.argv == ["lrscout", "find-lr"]


TRAINS = """
import torch._dynamo  # which the first optimizer imports: forgotten after a test, it could not be imported again
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.AdamW(model.parameters())
steps = []
def train():
    optimizer.step()
    steps.append(1)
"""

WAYS_TO_TRAIN = {
    "plainly": "train()",
    "catching exceptions": "try:\n    train()\nexcept Exception:\n    pass",
    "catching everything": "for _ in range(2):\n    try:\n        train()\n    except:\n        pass",
    "exiting": "try:\n    train()\nexcept BaseException:\n    raise SystemExit(1)",
}


@pytest.mark.parametrize("way", WAYS_TO_TRAIN.values(), ids=WAYS_TO_TRAIN)
@pytest.mark.parametrize(("place", "command"), [("mod.py", "python mod.py"), ("mod", "python -m mod")])
def test_import_that_trains_is_stopped_at_its_first_step(place: str, command: str, way: str) -> None:
    write("mod.py", f"{TRAINS}{way}\nassert not steps\n")
    with pytest.raises(TargetError, match=r"Importing 'mod' trains a model: line \d+ of mod\.py .* AdamW") as raised:
        load(f"{place}:model")
    assert '`if __name__ == "__main__":`' in str(raised.value.hint)
    assert f"lrscout find-lr -- {command}" in str(raised.value.hint)
    assert not raised.value.shows_cause


def test_line_that_trains_is_found_in_the_module_that_it_stands_in() -> None:
    write("mod.py", "import other\nmodel = other.model")
    write("other.py", f"{TRAINS}train()")
    with pytest.raises(TargetError, match=r"Importing 'mod' trains a model: line 9 of other\.py"):
        load("mod:model")


@pytest.mark.parametrize("text", [f"{TRAINS}train()", "1 / 0", "build = 1"])
def test_import_leaves_no_hook_behind(text: str) -> None:
    write("mod.py", text)
    with contextlib.suppress(TargetError):
        load("mod:build")
    assert not _global_optimizer_pre_hooks


def test_step_of_another_thread_is_no_matter_of_the_import() -> None:
    write("mod.py", "import threading, __main__\n__main__.begun.set()\nvalue = [__main__.stepped.wait(20)]\n")
    main: Any = sys.modules["__main__"]
    main.begun, main.stepped = threading.Event(), threading.Event()

    def train() -> None:
        main.begun.wait(20)
        torch.optim.SGD([torch.zeros(1)], 0.1).step()
        main.stepped.set()

    thread = threading.Thread(target=train)
    thread.start()
    assert load("mod:value") == [True]
    thread.join()


def test_factory_may_train() -> None:
    write("mod.py", f"{TRAINS}def build():\n    train()\n    return steps\n")
    assert load("mod:build") == [1]


def test_sys_exit_in_the_constructor_of_a_methods_class_is_an_error() -> None:
    write("mod.py", "class Made:\n    def __init__(self): raise SystemExit\n    def build(self): pass")
    with pytest.raises(TargetError, match=r"mod:Made called sys.exit"):
        load("mod:Made.build")


def test_file_whose_name_is_taken_says_by_what() -> None:
    write("json.py", "value = 1")
    with pytest.raises(TargetError, match="cannot be imported as 'json': that name is taken by"):
        load("json.py:value")
    write("sys.py", "value = 1")
    with pytest.raises(TargetError, match="taken by a built-in module"):
        load("sys.py:value")


def test_file_whose_package_name_is_taken_says_by_what() -> None:
    write("json/__init__.py", "")
    write("json/mod.py", "value = 1")
    with pytest.raises(TargetError, match=r"cannot be imported as 'json\.mod': that name is taken by"):
        load("json/mod.py:value")


def test_file_with_a_dot_in_its_name_is_an_error() -> None:
    write("mod.v2.py", "value = 1")
    with pytest.raises(TargetError, match="its name contains a dot"):
        load("mod.v2.py:value")


SPAWNING = """
import torch._dynamo  # which the first optimizer imports: forgotten after a test, it could not be imported again
from torch.utils.data import DataLoader, Dataset

class Mine(Dataset):
    def __len__(self): return 8
    def __getitem__(self, index): return torch.full((3,), float(index)), torch.ones(1)

def build():
    loader = DataLoader(Mine(), batch_size=4, num_workers=1, multiprocessing_context="spawn")
    return torch.nn.Linear(3, 1), loader, torch.nn.MSELoss()
"""

SEARCH = """
import sys
from lrscout import find_lr
if __name__ == "__main__":
    result = find_lr(sys.argv[1], steps=3, device="cpu")
    print(len(result.points), "points")
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["pkg/train.py", "scripts/my-train.py"])
def test_spawned_workers_can_import_a_file_target(place: str) -> None:
    write("pkg/__init__.py", "")
    write(place, SPAWNING)
    write("search.py", SEARCH)
    command = [sys.executable, "search.py", f"{place}:build"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("3 points\n", 0), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [["-m", "lrscout"], ["-c", "from lrscout.cli import entry; entry()"]])
def test_spawned_workers_can_import_a_file_target_from_the_command_line(command: list[str]) -> None:
    write("scripts/train.py", SPAWNING)
    arguments = ["find-lr", "scripts/train.py:build", "--steps", "3", "--device", "cpu", "--json"]
    done = subprocess.run([sys.executable, *command, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 4), done.stderr  # so few steps may suggest no rate
    assert len(json.loads(done.stdout)["result"]["points"]) == 3
