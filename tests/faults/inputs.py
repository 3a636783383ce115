"""What users type and write, from real examples to noise: a generator of inputs for every kind, from a seed.

`KINDS` has the generators. An input is made by its kind and its number alone: `made("schedule", 17)` is always the
same. `make fuzz` tries 100,000 of them.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from small_records import records
from test_hostile_text import HOSTILE

from lrscout.cli import COMMANDS as COMMAND_LINES
from lrscout.cli import _loaded
from lrscout.records import to_json
from lrscout.schedules import SCHEDULES, schedule_parameters, written
from lrscout.settings import COMMANDS, fields_of

ROOT = Path(__file__).parents[2]
MANY = int(os.environ.get("FUZZ", "700"))  # inputs of all kinds together; `make fuzz` tries 100,000
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))  # the number of the first input, to try one again
SEARCHES = ("find-lr", "find-batch-size", "compare-schedulers")


@dataclass(frozen=True, slots=True)
class Typed:
    """A command line, the variables and the files that it finds; nothing in an empty folder is a folder."""

    arguments: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes | None] = field(default_factory=dict)  # None: a folder
    told: str = ""  # what an error must name


@dataclass(frozen=True, slots=True)
class Called:
    """A call of the Python API."""

    function: str
    arguments: Mapping[str, Any]


Input = Typed | Called


def made(kind: str, number: int) -> Input:
    """The input of this kind with this number."""
    return KINDS[kind](random.Random(f"{kind} {number}"))


def many(kind: str) -> range:
    """The numbers of the inputs to try."""
    return range(FIRST, FIRST + max(MANY // len(KINDS) // SLOWER.get(kind, 1), 1))


# Noise

NUMBERS = [
    "0", "-0", "1", "-1", "3", "+5", "10", "0.05", ".5", "5.", "1e-3", "1E5", "-1e-3", "1e308", "1e309", "-1e309",
    "1e-320", "1e-400", "nan", "-nan", "inf", "-inf", "Infinity", "0x10", "0b1", "0o7", "010", "1_000", "1,5",
    "\uff11\uff12", "\u0663", "\u00b2", "\u00bd", " 7 ", "7\n", "1e", "e5", "--1", "2147483648", str(2**63 - 1),
    str(2**63), str(2**64), "9" * 40, "9" * 41, "9" * 400, "0." + "0" * 400 + "1", "1" + "0" * 5000, "true", "False",
    "null", "None", "auto", "off", "all", "-", "--",
]  # fmt: skip
SIGNS = [*":=,;.[]{}()<>&*!|#%@`~^$?/\\'\" \t\n\r\0-+_", "::", "==", "../", "${HOME}", "{seed}", "{steps}", "{}", "%s"]
NOISES: list[Callable[[random.Random], str]] = [
    lambda chance: chance.choice(NUMBERS),
    lambda chance: chance.choice(SIGNS) * chance.choice([1, 1, 2, 50]),
    lambda chance: chance.choice(HOSTILE),
    lambda chance: "".join(chr(chance.randrange(1, 0x3000)) for _ in range(chance.randrange(9))),
    lambda chance: "".join(chance.choice("abyz019._:=-") for _ in range(chance.randrange(12))),
    lambda chance: chance.choice(["", " ", "\0", "\udcff", "\ud800", "\U0001f600", "\ufeff", "é", "\u202e", "😀" * 40]),
    lambda chance: chance.choice(["[", "{", "a: ", "- ", "x" * 9, "\n", "😀", "'", "1"]) * chance.choice([60, 2000]),
]


def noise(chance: random.Random) -> str:
    return chance.choice(NOISES)(chance)


def altered(chance: random.Random, text: str, most: int = 3) -> str:
    """The text with some things inserted, removed, repeated or replaced in it; sometimes as it is."""
    for _ in range(chance.choice([0, *range(most + 1)])):
        begin, end = sorted(chance.randrange(len(text) + 1) for _ in range(2))
        match chance.randrange(6):
            case 0:
                text = text[:begin] + noise(chance) + text[begin:]
            case 1:
                text = text[:begin] + chance.choice(SIGNS) + text[begin:]
            case 2:
                text = text[:begin] + text[min(end, begin + 4) :]
            case 3:
                text = text[:end] + text[begin:end] + text[end:]
            case 4:
                text = re.sub(r"\d+", lambda _: chance.choice(NUMBERS), text, count=1)
            case _:
                text = text[:begin] + chance.choice(SIGNS) + text[end:]
    return text[:100_000]


def perhaps_altered(chance: random.Random, text: str) -> str:
    return text if chance.random() < 0.6 else altered(chance, text) if chance.random() < 0.8 else noise(chance)


def argument(text: str) -> str:
    """The text as a process can be given it: without NUL, and bytes that are not UTF-8 as Python shows them."""
    return os.fsdecode(text.encode("utf-8", "surrogatepass").replace(b"\0", b""))


# Values as they are meant

TARGETS = [
    "nosuch.py:build", "tiny.py:nosuch", "tiny:nosuch", "tiny.py", "tiny", "tiny.build", "tiny.py:Made.nosuch",
    "tiny:Made.build.x", "folder:x", "folder.py:x", "./tiny.py:no.such", "~/tiny.py:x", "json:nosuch", "json.tool:x",
    "torch.optim:nosuch", "math:pi", "math:pi.real", "nosuch.mod:build", "folder/nosuch.py:x", "../x.py:y",
    "tiny.py:TEXT", "tiny.py:NUMBER", "tiny.py:nothing",
]  # fmt: skip
TORCH = [
    "torch:CosineAnnealingLR:T_max=$total", "torch:StepLR:step_size=10", "torch:StepLR:step_size=3,gamma=0.5",
    "torch:OneCycleLR:max_lr=$peak,total_steps=$total", "torch:LinearLR", "torch:ExponentialLR:gamma=0.9",
    "torch:ReduceLROnPlateau", "torch:LambdaLR:lr_lambda=1", "torch:SequentialLR", "torch:PolynomialLR:total_iters=9",
    "torch:CyclicLR:base_lr=0,max_lr=$peak", "torch:MultiStepLR:milestones=[2,5]", "torch:CosineAnnealingLR:T_max=5",
    "torch:CosineAnnealingWarmRestarts:T_0=5", "torch:ConstantLR:factor=0.5", "torch:nosuch", "torch:ChainedScheduler",
]  # fmt: skip
OWN = ["tiny:halved", "tiny.py:halved:power=2", "tiny:stepped", "tiny:nosuch", "nosuch:x", "json:nosuch", "math:pi"]
UNITS = ["", "%", "b", "B", "KB", "MiB", "GiB", "gib", "TiB", "G", "PiB", "s", "m", "h", "d", " GiB", " %", "ms"]
RECIPE = """\
version: 1
target: nosuch.py:build
kwargs: {batch_size: 32, context: 64, name: "x", list: [1, 2], nested: {a: null}}
seed: 0
device: cpu
precision: fp32
find_lr: {use: constant, horizon: 20000, clip_norm: 1.0, refine: 5m, optimizer_arg: {weight_decay: 0.1}}
find_batch_size: {budget: 11GiB, isolate: never, margin: 5%, no_statistics: true}
compare_schedulers:
  schedules: [constant, linear:warmup=0.05, {name: wsd, warmup: 0.05}]
  steps: 300
  time_budget: 90
run: {lr: 1e-3, schedule: "cosine:warmup=0.05", steps: 100}
"""
RECIPES = [RECIPE, *(path.read_text(encoding="utf-8") for path in sorted((ROOT / "recipes").glob("*.yaml")))]
EXAMPLES = [
    shlex.split(line.removeprefix("$ ").removesuffix("\\"), comments=True)[1:]
    for place in (ROOT / "README.md", ROOT / "docs" / "batch_size.md", ROOT / "docs" / "comparison.md")
    for line in place.read_text(encoding="utf-8").splitlines()
    if re.match(r"(\$ )?lrscout [a-z-]+ .*(--|:build|\.json|-s )", line)
]
"""The command lines in the documents."""


def schedule(chance: random.Random) -> str:
    if chance.random() < 0.25:
        return chance.choice(TORCH + OWN)
    name = chance.choice([*SCHEDULES, "onecycle", "One_Cycle"])
    known = list(schedule_parameters(name).values()) if name in SCHEDULES else []
    given = [p for p in known if chance.random() < 0.4]
    values = [f"{p.name}={written(p.default) if chance.random() < 0.5 else chance.choice(NUMBERS)}" for p in given]
    return ":".join(filter(None, [name, ",".join(values)]))


def condition(chance: random.Random) -> str:
    names = ["cosine", "wsd", "constant", "cosine:warmup=0.05", "nosuch", "linear"]
    relation = chance.choice(["worse than", "better than", "not worse than", "not better than", "worse", "is"])
    one = f"{chance.choice(names)} {relation} {chance.choice(names)}"
    return one if chance.random() < 0.7 else f"{one}; {condition(chance)}"


def amount(chance: random.Random) -> str:
    return chance.choice(NUMBERS[:30] if chance.random() < 0.3 else ["1", "2", "5", "0.5", "80", "11", "90", "650"]) + (
        chance.choice(UNITS)
    )


def pair(chance: random.Random) -> str:
    value = chance.choice(["64", "0.1", "true", "null", "abc", "[1, 2]", "{a: 1}", "'x y'", '"\\x1b[31m"', "!!str 5"])
    return f"{chance.choice(['width', 'name', 'batch_size', 'a-b', 'weight_decay', 'é'])}={value}"


FILES = [
    "a.json",
    "b.csv",
    "folder",
    "folder/c.json",
    "nosuch/d.json",
    "good.yaml",
    "good.json",
    "tiny.py",
    "/dev/null",
]
VALUES: dict[str, Callable[[random.Random], str]] = {
    "--schedule": schedule,
    "--fail-if": condition,
    "--expect-best": lambda chance: chance.choice(["cosine", "wsd,cosine", "cosine:warmup=0.05", "nosuch", ","]),
    "--baseline": lambda chance: chance.choice(["cosine", "wsd", "cosine:warmup=0.05", "nosuch"]),
    **dict.fromkeys(["--budget", "--margin", "--resolution", "--time-budget", "--refine"], amount),
    "--prefer": lambda chance: f"multiple-of{chance.choice(['-8', ' 8', '=8', '8', '-0', '-' + '9' * 18, '-x'])}",
    "--jobs": lambda chance: chance.choice(["1", "0", "-1", "1.5", "1x", "99999", "many"]),
    "--kwarg": pair,
    "--optimizer-arg": pair,
    "--optimizer": lambda chance: chance.choice(["adamw", "sgd", "muon", "lbfgs", "1", "all", "AdamW", "optimizer"]),
    "--device": lambda chance: chance.choice(["auto", "cpu", "cpu:0", "cuda", "cuda:99", "meta", "mps", "xpu", "x:1"]),
    "--metric-fn": lambda chance: chance.choice(["tiny:metric", "nosuch:x", "math:pi"]),
    "--metric-regex": lambda chance: chance.choice(["loss ([0-9.e+-]+)", "(a)(b)", "(", "(?:x)", "(a+)+$", "[", "\\"]),
    "--listen": lambda chance: chance.choice(["127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "[::1]:0", ":", "::1"]),
    "--recipe": lambda chance: chance.choice(["good.yaml", "nosuch.yaml", "folder", "tiny.py", "/dev/null"]),
    "--from": lambda chance: chance.choice(["good.json", "nosuch.json", "folder", "good.yaml", "/dev/null"]),
    "--app-dir": lambda chance: chance.choice([".", "folder", "nosuch", "tiny.py", "~"]),
    **dict.fromkeys(["--output", "--export-csv", "--export-markdown", "--junit-xml"], lambda c: c.choice(FILES)),
}
OF_TYPES: dict[Any, Callable[[random.Random], str]] = {
    int: lambda chance: chance.choice(["1", "2", "3", "10", "100", "300", "1000", "24", "5"]),
    float: lambda chance: chance.choice(["0.1", "1e-3", "0.9", "1", "5", "2e-3", "1e-7", "10"]),
}


loaded = cache(_loaded)  # as it takes most of the time of an input that is refused


@cache
def flags(command: str) -> dict[str, Any]:
    """The flags of a command by all of their names."""
    known = [p for p in loaded(command, COMMAND_LINES[command]).params if p.opts[0].startswith("-")]
    return {name: p for p in known for name in (*p.opts, *p.secondary_opts)}


def value(chance: random.Random, flag: Any) -> str:
    """A value that the flag may well have."""
    known = VALUES.get(max(flag.opts, key=len))
    if known is not None:
        return known(chance)
    if flag.metavar and "|" in flag.metavar:
        return chance.choice(flag.metavar.split("|"))
    return OF_TYPES.get(flag.type_descriptor.annotation, noise)(chance)


def given(chance: random.Random, command: str, how: Callable[[random.Random, str], str]) -> list[list[str]]:
    """Some flags of a command with their values, as `how` changes them."""
    found = []
    for name in chance.choices(sorted(flags(command)), k=chance.choice([0, 1, 2, 3, 5, 9])):
        flag = flags(command)[name]
        if flag.is_flag:
            found.append([name if chance.random() < 0.95 else f"{name}={noise(chance)}"])
            continue
        text = how(chance, value(chance, flag))
        match chance.randrange(12):
            case 0:
                found.append([f"{name}={text}"])
            case 1:
                found.append([f"{name}{text}"])
            case 2 if chance.random() < 0.2:
                found.append([name])
            case _:
                found.append([name, text])
    return found


# The kinds

NEVER = {"LRSCOUT_ISOLATE": "never"}  # a process to load a target in takes seconds to start


def typed(*arguments: str, **more: Any) -> Typed:
    return Typed(tuple(map(argument, arguments)), **more)


def schedules(chance: random.Random) -> Typed:
    texts = [perhaps_altered(chance, schedule(chance)) for _ in range(chance.choice([1, 1, 2, 3]))]
    steps = chance.choice(["1", "2", "7", "100", "1000"])
    line = ["preview", "--steps", steps] if chance.random() < 0.6 else ["compare-schedulers", "nosuch.py:x"]
    return typed(*line, *(word for text in texts for word in ("-s", text)))


def conditions(chance: random.Random) -> Typed:
    line = ["compare-schedulers", "nosuch.py:x", "-s", "cosine", "-s", "wsd", "-s", "cosine:warmup=0.05"]
    flag = chance.choice(["--fail-if", "--fail-if", "--fail-if", "--expect-best", "--baseline"])
    return typed(*line, flag, perhaps_altered(chance, VALUES[flag](chance)))


def amounts(chance: random.Random) -> Typed:
    places = {
        "find-lr": ["--refine", "--horizon", "--epochs"],
        "find-batch-size": ["--budget", "--margin", "--resolution", "--time-budget", "--prefer", "--timeout"],
        "compare-schedulers": ["--time-budget", "--jobs", "--timeout"],
    }
    command = chance.choice(list(places))
    flag = chance.choice(places[command])
    text = perhaps_altered(chance, VALUES.get(flag, amount)(chance))
    return typed(command, "nosuch.py:x", flag, text, variables=NEVER)


def pairs(chance: random.Random) -> Typed:
    texts = [perhaps_altered(chance, pair(chance)) for _ in range(chance.choice([1, 1, 2]))]
    flag = chance.choice(["-k", "--kwarg", "--optimizer-arg"])
    target = chance.choice(["tiny.py:nothing", "nosuch.py:x"])
    return typed("find-lr", target, *(word for text in texts for word in (flag, text)))


def targets(chance: random.Random) -> Typed:
    folder = ["--app-dir", perhaps_altered(chance, VALUES["--app-dir"](chance))] if chance.random() < 0.3 else []
    command = chance.choice(SEARCHES)
    return typed(command, perhaps_altered(chance, chance.choice(TARGETS)), *folder, variables=NEVER)


def recipe(chance: random.Random) -> bytes:
    text = chance.choice(RECIPES)
    if chance.random() < 0.4:  # values of another type, in their places
        with contextlib.suppress(yaml.YAMLError):  # a document that cannot be written
            text = yaml.safe_dump(replaced(yaml.safe_load(text), chance), allow_unicode=chance.random() < 0.5)
    else:
        text = altered(chance, text, most=4)
    return text.encode(chance.choice(["utf-8"] * 8 + ["utf-16", "utf-8-sig"]), "surrogatepass")


def recipes(chance: random.Random) -> Typed:
    content = recipe(chance)
    target = ["nosuch.py:x"] if chance.random() < 0.5 else []
    command = chance.choice([*SEARCHES, "run"])
    return typed(command, "--recipe", "r.yaml", *target, files={"r.yaml": content}, variables=NEVER)


RECORDS = {name: json.loads(to_json(record)) for name, record in records().items()}
JSON: list[Any] = [
    None, True, False, 0, -1, 1, 3, 10**6, 2**63, 10**18, 10**30, 10**400, 0.0, -0.5, 1.5, 1e-320, 1e308, -1e308,
    float("nan"), float("inf"), float("-inf"), "", "x", "1", "nan", "1e5", "\x1b[31m", "ok", "failed", "decay",
    [], [1], ["x"], [[]], [None], {}, {"x": 1}, {"x": {}}, {"1": None},
]  # fmt: skip


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value of a document is, the whole of it included."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def replaced(document: Any, chance: random.Random) -> Any:
    """The document with one to three things changed in it."""
    whole = {"": copy.deepcopy(document)}
    for _ in range(chance.randint(1, 3)):
        *path, key = chance.choice(places(whole[""], ("",)))
        parent = at(whole, tuple(path))
        match chance.randrange(12):
            case 0 | 1:
                parent[key] = copy.deepcopy(chance.choice(JSON))
            case 2 | 3 | 8 | 9 | 10 | 11:  # what no check of types can tell
                alike = [each for each in JSON if type(each) is type(parent[key])]
                parent[key] = copy.deepcopy(chance.choice([*alike, None]))
            case 4 if path:
                del parent[key]
            case 5 if isinstance(parent[key], dict):
                parent[key][chance.choice(["new", "steps", "\x9b", "points"])] = chance.choice(JSON)
            case 5 | 6 if isinstance(parent[key], list) and parent[key]:
                parent[key] = parent[key] * chance.choice([2, 30]) if chance.random() < 0.5 else parent[key][::-1]
            case _:
                parent[key] = copy.deepcopy(at(whole, chance.choice(places(whole[""], ("",)))))
        if not isinstance(whole[""], dict):
            break
    return whole[""]


def damaged_record(name: str, chance: random.Random) -> str:
    """The text of a record with one to three things changed in it."""
    text = json.dumps(replaced(RECORDS[name], chance), ensure_ascii=chance.random() < 0.5)
    return text[: chance.randrange(len(text))] if chance.random() < 0.05 else text


def damaged_records(chance: random.Random) -> Typed:
    content = damaged_record(chance.choice(sorted(RECORDS)), chance).encode("utf-8", "surrogatepass")
    line = chance.choice([["show"], ["show"], ["show", "-v"], ["show", "--json"]])
    return typed(*line, "r.json", files={"r.json": content}, told="Error: r.json")


def used_records(chance: random.Random) -> Typed:
    """A damaged record where a command reads one."""
    document = copy.deepcopy(RECORDS[chance.choice(["run", "find-lr", "compare-schedulers", "several optimizers"])])
    document["target"] = chance.choice([document["target"], {"command": ["nosuch-program"], "cwd": "."}])
    part = chance.choice(["settings", "target", "result"])
    document[part] = replaced(document[part], chance)
    content = json.dumps(document, ensure_ascii=chance.random() < 0.5)
    known = chance.choice([[], ["--steps", "9"], ["--lr", "1e-3"], ["-s", "cosine"]])
    line = ["run", "--from", "r.json", *known, *chance.choice([["--", "nosuch-program"], []])]
    if chance.random() < 0.3:
        line = ["compare-schedulers", "nosuch.py:x", "--resume", "-o", "r.json"]
    return typed(*line, files={"r.json": content.encode("utf-8", "surrogatepass")})


def odd_file(chance: random.Random) -> bytes | None:
    """What is not a record or a recipe at all; None for a folder."""
    text = json.dumps(RECORDS["find-lr"])
    return chance.choice(
        [
            b"", b"\n", b"\0" * 100, b"\xff\xfe\x00", b"\x1f\x8b\x08\0", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", None,
            chance.randbytes(chance.randrange(2000)), text.encode("utf-16"), text.encode("utf-8-sig"), b"[" * 200_000,
            b'{"a":' * 50_000, b"- " * 20_000, b"{" * 20_000, b"a: " * 20_000, b" " * 200_000, b"\n" * 200_000,
            b"x" * 200_000, b'"' + b"\\" * 99_999, b"&a [" * 999, b"? " * 999, b"# x", b"---\n...\n---",
            b"9" * 100_000,
            noise(chance).encode("utf-8", "surrogatepass"), text.encode() * 2, b'{"schema": 1}', b"\x80" * 9,
            text.replace(": 1,", ": 1e999,").encode(), text.replace("find-lr", "\x1b[31m").encode(), b"%YAML 9\n---\n",
        ]
    )  # fmt: skip


def files(chance: random.Random) -> Typed:
    name = chance.choice(["r.json", "r.yaml", "a b.json", "é.json", "\x1b[31m.json", "-x", "::error::x", "##[x]", "r"])
    line = chance.choice(
        [["show"], ["show", "--json"], ["find-lr", "--recipe"], ["run", "--recipe"], ["run", "--from"],
         ["compare-schedulers", "nosuch.py:x", "--resume", "-o"]]
    )  # fmt: skip
    place = (
        name
        if chance.random() < 0.8
        else chance.choice(["nosuch", "", ".", "/", "/dev/null", "/dev/zero", noise(chance)])
    )
    return typed(*line, place if not place.startswith("-") else f"./{place}", files={name: odd_file(chance)})


def variables(chance: random.Random) -> Typed:
    command = chance.choice([*SEARCHES, "run"])
    found = {}
    for _ in range(chance.choice([1, 1, 2, 4])):
        flag = chance.choice(list(flags(command).values()))
        for name in chance.sample(flag.envvar or ["LRSCOUT_X"], 1):
            found[altered(chance, name, 1) if chance.random() < 0.1 else name] = value(chance, flag)
    found = {name: perhaps_altered(chance, text) for name, text in found.items()}
    known = {argument(name).replace("=", "") or "X": argument(text) for name, text in found.items()}
    known |= {name: argument(noise(chance)) for name in chance.sample(OTHERS, chance.choice([0, 0, 1]))}
    line = [command, "--", "nosuch-program"] if command == "run" else [command, *chance.choice([["nosuch.py:x"], []])]
    return typed(*line, variables={**NEVER, **known})


OTHERS = ["COLUMNS", "NO_COLOR", "FORCE_COLOR", "CI", "GITHUB_ACTIONS", "GITLAB_CI", "TERM", "GITHUB_OUTPUT"]
COMMANDLESS = [["--version"], ["--help"], ["-h"], ["--nosuch"], [""], ["-"], ["--"], ["find_lr"], ["FIND-LR"], []]


def command_lines(chance: random.Random) -> Typed:
    if chance.random() < 0.1:
        return typed(*chance.choice(COMMANDLESS), *(noise(chance) for _ in range(chance.choice([0, 0, 1, 2]))))
    if chance.random() < 0.15:
        words = [altered(chance, word) if chance.random() < 0.2 else word for word in chance.choice(EXAMPLES)]
        return typed(*harmless(words, chance), variables=NEVER)
    command = chance.choice(list(COMMAND_LINES))
    bad = chance.choice([0.0, 0.0, 0.1, 0.5])
    parts = given(
        chance, command, lambda chance, text: perhaps_altered(chance, text) if chance.random() < bad else text
    )
    places = {"show": ["good.json", "nosuch.json"], "run": [], "schedules": [], "preview": []}.get(command, TARGETS)
    parts += [[chance.choice(places)]] if places and chance.random() < 0.9 else []
    parts += [[noise(chance)]] if chance.random() < 0.1 else []
    parts += [["--"]] if chance.random() < 0.1 else []
    chance.shuffle(parts)
    if command in ("run", *SEARCHES) and chance.random() < (0.8 if command == "run" else 0.1):
        parts.append(["--", *chance.choice(PROGRAMS)])
    words = [word for part in parts for word in part]
    return typed(*harmless([command, *words], chance), variables=NEVER)


PROGRAMS = [
    ["nosuch-program"], ["nosuch-program", "{seed}", "{steps}", "{batch_size}"], ["folder"], ["./good.yaml"], [""],
    ["nosuch\x1b[31m"], ["x" * 5000], ["~"], ["/dev/null"], ["{batch_size}"], ["nosuch-program", "{nosuch}", "{", "}"],
]  # fmt: skip
ENDING = [["true"], ["false"], ["python", "-c", "pass"], ["true", "{seed}"], ["true", "{batch_size}", "{steps}"]]


def harmless(words: list[str], chance: random.Random) -> list[str]:
    """The words of a command line, whose training command is one that does nothing."""
    if "--" not in words:
        return words
    before = words[: words.index("--") + 1]
    after = words[len(before) :]
    if not after or after in PROGRAMS + ENDING:
        return words
    return [*before, *chance.choice(PROGRAMS), *after]


def commands(chance: random.Random) -> Typed:
    """Training commands that start, and end without a training."""
    command = chance.choice([*SEARCHES, "run"])
    line = [command, *(["--lr", "1e-3", "--steps", "10"] if command == "run" else [])]
    flags = given(chance, command, lambda chance, text: text)
    flags = [words for words in flags if not words[0].startswith(("--listen", "--recipe"))]
    return typed(*line, *(word for words in flags for word in words), "--", *chance.choice(ENDING))


TRAINED = {
    "find-lr": [
        "--steps", "--max-steps", "--min-lr", "--max-lr", "--smoothing", "--stop-factor", "--rule", "--for",
        "--horizon", "--epochs", "--spacing", "--no-early-stop", "--val-batches", "--seeds",
    ],
    "compare-schedulers": [
        "-s", "--steps", "--lr", "--lr-mode", "--min-effect", "--evaluations", "--eval-every", "--metric-mode",
        "--metric-fn", "--fail-if", "--expect-best", "--baseline", "--junit-xml",
    ],
    "find-batch-size": [
        "--mode", "--batch-arg", "--min", "--max", "--margin", "--resolution", "--objective", "--no-statistics",
        "--trial-steps", "--effective-batch-size", "--prefer", "--worst-case", "--dry-run", "--budget",
    ],
}  # fmt: skip
SHARED = [
    "--seed", "--precision", "--optimizer", "--optimizer-arg", "--accumulate", "--clip-norm", "--clip-value",
    "--device", "-k", "--json", "-q", "--width", "-o", "--export-csv", "--export-markdown",
]  # fmt: skip
FIXED = {  # so that it takes no longer than a second
    "find-lr": ["--steps", "12", "--max-steps", "12"],
    "compare-schedulers": ["--steps", "10", "--seeds", "1", "--lr-mode", "shared", "-s", "cosine", "-s", "constant"],
    "find-batch-size": ["--max", "4", "--no-statistics", "--isolate", "never", "--time-budget", "0.1s"],
}
OPTIMIZERS = ["sgd", "adam", "adamw", "adagrad", "adadelta", "adamax", "asgd", "lbfgs", "nadam", "radam", "rmsprop",
              "rprop", "sparseadam", "muon", "adafactor", "SGD", "optimizer", "nosuch"]  # fmt: skip
ARGUMENTS = ["lr", "weight_decay", "momentum", "betas", "eps", "foreach", "fused", "maximize", "nesterov", "nosuch"]


def trainings(chance: random.Random) -> Typed:
    """Searches on a target that trains, with settings at the edges of what they may be."""
    command = chance.choice(SEARCHES)
    line = [command, chance.choice(["tiny.py:build", "tiny:build", "tiny.py:Made.build"]), *FIXED[command]]
    for name in chance.sample([*TRAINED[command], *SHARED], chance.choice([0, 1, 2, 4])):
        flag = flags(command)[name]
        if flag.is_flag:
            line.append(name)
        elif name == "--optimizer":
            line += [name, chance.choice(OPTIMIZERS)]
        elif name == "--optimizer-arg":
            line += [
                name,
                f"{chance.choice(ARGUMENTS)}={chance.choice(['0', '-1', '1e-3', 'true', '[0.9, 0.99]', 'x'])}",
            ]
        elif name == "-k":
            line += [name, f"batch_size={chance.choice(['0', '1', '3', '-1', '99', '1.5', 'x', 'null'])}"]
        elif name in ("--steps", "--seeds", "--max-steps", "--evaluations", "--accumulate", "--trial-steps", "--max"):
            line += [name, chance.choice(["1", "2", "3", "5", "10", "16"])]
        elif flag.type_descriptor.annotation is float:
            line += [
                name,
                chance.choice(["1e-320", "1e-45", "1e-7", "1e-3", "0.5", "0.999", "1", "7", "1e38", "1e308"]),
            ]
        else:
            line += [name, value(chance, flag)]
    return typed(*line)


class Odd:
    """An object of the user's."""

    def __repr__(self) -> str:
        return "\x1b[31m<odd>\n"


OBJECTS: list[Any] = [
    *JSON, -(10**4000), 10**4000, b"x", b"\xff", (), (1, 2), {1, 2}, range(3), 1j, Path("nosuch"), Path("r.json"),
    object(), Odd(), Odd, int, lambda: None, lambda **_: {}, SimpleNamespace(), [[[[]]]], {1: 2}, {None: None},
    "cosine", ["cosine", "wsd"], ["cosine", 3], [None, "wsd"], ["nosuch-program"], "nosuch-program", ["nosuch", 3],
    [b"x"], "tiny.py:build", "nosuch.py:x", "x" * 5000, "\ud800", "\0", Ellipsis, NotImplemented, float, print,
]  # fmt: skip


def calls(chance: random.Random) -> Called:
    name = chance.choice(["check", "find_lr", "find_batch_size", "compare_schedulers", "run"])
    own = {"run": ["command", "record"]}.get(name, API)
    known = [each.name for each in fields_of(COMMANDS[name])]
    names = [chance.choice(own if chance.random() < 0.5 else known) for _ in range(chance.choice([1, 1, 2, 3]))]
    arguments = {each: chance.choice(OBJECTS) for each in names}
    if chance.random() < 0.05:
        arguments[chance.choice(["nosuch", "Steps", "no_early_stop", "for", "\x1b[31m", ""])] = chance.choice(OBJECTS)
    if name != "run" and chance.random() < 0.6:
        arguments["target"] = "nosuch.py:x"
    if chance.random() < 0.5:  # some that are right
        return Called(name, {**arguments, **chance.choice([{"seed": 3}, {"steps": 20}, {"lr": 1e-3}])})
    return Called(name, arguments)


API = ["target", "train_loader", "loss_fn", "optimizer", "val_loader", "kwargs", "app_dir", "command"]
KINDS: dict[str, Callable[[random.Random], Input]] = {
    "schedule": schedules,
    "condition": conditions,
    "amount": amounts,
    "argument": pairs,
    "target": targets,
    "recipe": recipes,
    "record": damaged_records,
    "record used": used_records,
    "file": files,
    "variable": variables,
    "command line": command_lines,
    "training command": commands,
    "training": trainings,
    "call": calls,
}
SLOWER = {"training command": 20, "training": 20}  # how many times fewer of a kind are tried
