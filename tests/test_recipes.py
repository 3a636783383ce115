"""Recipes: the meaning of each value, and the position of each error."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lrscout.errors import RecipeError, UsageError
from lrscout.pairs import parse_pairs, parse_value
from lrscout.recipes import Recipe, load_recipe
from lrscout.search.rules import RULES
from lrscout.settings import COMMANDS, SessionSettings, option


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str) -> Recipe:
    return load_recipe(write(folder, text))


def mistakes(folder: Path, text: str) -> list[str]:
    """The lines of the error, each as line:column: message."""
    path = write(folder, text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert caught.value.exit_code == 2
    return [line.removeprefix(f"{path}:") for line in caught.value.message.splitlines()]


FULL = """\
# a comment
version: 1
target: examples.mnist:build
kwargs: {width: 64, names: [a, b], nested: {0: cat}}
seed: 3
device: cpu
find_lr:
  min_lr: 1e-6
  max_lr: 1
  steps: 0x10
  clip_norm: null
  optimizer_arg: {weight_decay: 0}
  early_stop: false
"""


# What a recipe gives


def test_recipe_has_all_its_parts(tmp_path: Path) -> None:
    recipe = load(tmp_path, FULL)
    assert recipe.path == tmp_path / "recipe.yaml"
    assert recipe.target == "examples.mnist:build"
    assert recipe.kwargs == {"width": 64, "names": ["a", "b"], "nested": {0: "cat"}}
    assert recipe.common == {"seed": 3, "device": "cpu"}
    assert recipe.sections == {
        "find_lr": {
            "min_lr": 1e-6,
            "max_lr": 1.0,
            "steps": 16,
            "clip_norm": None,
            "optimizer_arg": {"weight_decay": 0},
            "early_stop": False,
        }
    }


def test_whole_number_for_a_float_setting_becomes_a_float(tmp_path: Path) -> None:
    recipe = load(tmp_path, "version: 1\nfind_lr: {max_lr: 1}")
    assert isinstance(recipe.sections["find_lr"]["max_lr"], float)


def test_section_overrides_the_common_settings(tmp_path: Path) -> None:
    recipe = load(tmp_path, "version: 1\nseed: 1\ndevice: cpu\nfind_lr: {seed: 2, steps: 5}")
    assert recipe.settings_for("find_lr") == {"seed": 2, "device": "cpu", "steps": 5}


def test_common_settings_apply_to_a_command_without_a_section(tmp_path: Path) -> None:
    recipe = load(tmp_path, "version: 1\nseed: 1")
    assert recipe.settings_for("find_lr") == {"seed": 1}


def test_smallest_recipe_has_only_a_version(tmp_path: Path) -> None:
    recipe = load(tmp_path, "version: 1")
    assert (recipe.target, recipe.kwargs, recipe.common, recipe.sections) == (None, {}, {}, {})


def test_section_whose_keys_are_all_commented_out_is_empty(tmp_path: Path) -> None:
    recipe = load(tmp_path, "version: 1\nkwargs:\nfind_lr:\n  # steps: 5\n")
    assert (recipe.kwargs, recipe.settings_for("find_lr")) == ({}, {})


@pytest.mark.parametrize(("line", "expected"), [("no_early_stop: true", False), ("no_early_stop: false", True)])
def test_negated_setting_is_stored_under_its_positive_name(tmp_path: Path, line: str, expected: bool) -> None:
    assert load(tmp_path, f"version: 1\nfind_lr: {{{line}}}").sections["find_lr"] == {"early_stop": expected}


def test_negated_null_is_null(tmp_path: Path) -> None:
    recipe = load(tmp_path, "version: 1\nfind_lr: {no_cudnn_benchmark: null}")
    assert recipe.sections["find_lr"] == {"cudnn_benchmark": None}


def test_new_command_in_the_settings_has_a_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, kw_only=True)
    class BrewSettings(SessionSettings):
        cups: int = option(1, "Cups.", at_least=1)

    monkeypatch.setitem(COMMANDS, "brew", BrewSettings)
    assert load(tmp_path, "version: 1\nbrew: {cups: 2}").settings_for("brew") == {"cups": 2}
    assert mistakes(tmp_path, "version: 1\nbrew: {cups: 0}") == ["2:14: cups 0 must be at least 1"]


# Targets


@pytest.mark.parametrize("place", ["train.py", "sub/train.py", "../train.py"])
def test_relative_file_target_is_relative_to_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "recipes").mkdir()
    write(tmp_path / "recipes", f"version: 1\ntarget: {place}:build")
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(Path("recipes/recipe.yaml"))
    assert recipe.target == f"{os.path.normpath(Path('recipes') / place)}:build"


def test_home_in_a_file_target_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("USERPROFILE", "/home/ada")
    assert load(tmp_path, "version: 1\ntarget: ~/train.py:build").target == "/home/ada/train.py:build"


@pytest.mark.parametrize("target", ["/abs/train.py:Net.build", "pkg.mod:build", "nonsense", "pkg.py.mod:f"])
def test_absolute_and_module_targets_are_unchanged(tmp_path: Path, target: str) -> None:
    assert load(tmp_path, f"version: 1\ntarget: {target}").target == target


# Typing of values: the core schema of YAML 1.2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", 1e-3),
        ("1E-3", 1e-3),
        ("1e3", 1e3),
        ("1E3", 1e3),
        ("1.0e3", 1e3),
        ("-1e-3", -1e-3),
        ("+.5", 0.5),
        ("5.", 5.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("010", 10),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("TRUE", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("[1, two, 3.0]", [1, "two", 3.0]),
        ("{a: {b: null}}", {"a": {"b": None}}),
        ("!!str 12", "12"),
        ("!!float 1", 1.0),
        ("!!int '12'", 12),
        ("!!seq []", []),
        ("!!map {}", {}),
    ],
)
def test_value_is_typed_by_the_core_schema(text: str, expected: Any) -> None:
    value = parse_value(text)
    assert (type(value), value) == (type(expected), expected)


def test_nan_is_a_number() -> None:
    assert math.isnan(parse_value(".nan"))


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "No",
        "NO",
        "on",
        "On",
        "yes",
        "off",
        "y",
        "n",
        "nan",
        "inf",
        "NaN",
        "Infinity",
        "tRUE",
        "nULL",
        "1:30",
        "190:20:30",
        "2024-01-01",
        "2024-01-01T10:00:00Z",
        "1_000",
        "0b11",
        "0o8",
        "1e",
        "1e-3x",
        "e3",
        ".",
        "-.5.0",
        "0xg",
        "=",
        "adamw",
        "cuda:1",
        "١٢",
    ],
)
def test_everything_else_is_text(text: str) -> None:
    assert parse_value(text) == text


@pytest.mark.parametrize("text", ["1", "1e-3", "true", "null", "", "<<"])
def test_quoted_value_is_text(text: str) -> None:
    assert parse_value(f"'{text}'") == parse_value(f'"{text}"') == text


def test_yaml_1_1_booleans_are_text_as_keys_too() -> None:
    assert parse_value("{no: 1, on: 2, yes: 3, off: 4}") == {"no": 1, "on": 2, "yes": 3, "off": 4}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_reads_back_as_written(number: float) -> None:
    assert parse_value(repr(number)) == number
    assert parse_value(f"{number:e}") == float(f"{number:e}")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(PLAIN)
def test_any_json_reads_back_as_written(value: Any) -> None:
    assert parse_value(json.dumps(value)) == value


def test_json_pair_of_surrogates_is_one_character() -> None:
    assert parse_value(json.dumps("\N{GRINNING FACE}")) == "\N{GRINNING FACE}"


# Mistakes, each with its place


def test_all_errors_are_reported_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
target: 5
sed: 1
kwargs: {a: 1, a: 2}
find_lr:
  min_ls: 1e-6
  steps: ten
  precision: fp8
"""
    assert mistakes(tmp_path, text) == [
        f"7 errors in {tmp_path / 'recipe.yaml'}:",
        "1:1: version is missing; start with 'version: 1'",
        "1:9: target must be text, not 5",
        "2:1: unknown key 'sed'. Did you mean 'seed'?",
        "3:16: duplicate key 'a', first on line 3",
        "5:3: unknown key 'min_ls'. Did you mean 'min_lr'?",
        "6:10: steps must be a whole number, not 'ten'",
        "7:14: precision 'fp8' must be one of fp32, bf16, fp16",
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("seed: -1", "2:7: seed -1 must be at least 0"),
        ("seed: true", "2:7: seed must be a whole number, not True"),
        ("seed: 1.0", "2:7: seed must be a whole number, not 1.0"),
        ("seed:", "2:6: seed must be a whole number, not None"),
        ("device: 1", "2:9: device must be text, not 1"),
        ("find_lr: 3", "2:10: find_lr must be a mapping, not 3"),
        ("kwargs: [a]", "2:9: kwargs must be a mapping, not ['a']"),
        ("kwargs: {1: a}", "2:10: keys of kwargs must be text, not 1"),
        ("true: a", "2:1: keys must be text, not True"),
        ("find_lr: {max_lr: .inf}", "2:19: max_lr inf must be finite"),
        ("find_lr: {max_lr: .nan}", "2:19: max_lr nan must be finite"),
        ("find_lr: {smoothing: 1}", "2:22: smoothing 1.0 must be below 1"),
        ("find_lr: {compile: yes}", "2:20: compile must be true or false, not 'yes'"),
        ("find_lr: {rule: velley}", "2:17: rule 'velley' must be one of {rules}. Did you mean 'valley'?"),
        ("find_lr: {optimizer_arg: {2: 1}}", "2:27: keys of optimizer_arg must be text, not 2"),
        ("find_lr: {1: 2}", "2:11: keys must be text, not 1"),
        ("find_lr: {early_stop: true, no_early_stop: true}", "2:29: 'no_early_stop' sets 'early_stop' twice"),
        ("version: 1", "2:1: duplicate key 'version', first on line 1"),
    ],
)  # fmt: skip
def test_error_has_its_position(tmp_path: Path, text: str, mistake: str) -> None:
    assert mistakes(tmp_path, f"version: 1\n{text}") == [mistake.replace("{rules}", ", ".join(RULES))]


@pytest.mark.parametrize(
    ("version", "mistake"),
    [
        ("2", "1:10: version must be 1, not 2"),
        ("true", "1:10: version must be a whole number, not True"),
        ("1.0", "1:10: version must be a whole number, not 1.0"),
        ("", "1:9: version must be a whole number, not None"),
    ],
)
def test_other_versions_are_rejected(tmp_path: Path, version: str, mistake: str) -> None:
    assert mistakes(tmp_path, f"version: {version}") == [mistake]


def test_setting_of_a_section_is_unknown_at_the_top_level(tmp_path: Path) -> None:
    assert "unknown key 'steps'" in mistakes(tmp_path, "version: 1\nsteps: 5")[0]


def test_duplicate_key_is_found_at_any_depth(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "version: 1\nkwargs:\n  a:\n  - b: 1\n    c: 2\n    b: 3\n")
    assert found == ["6:5: duplicate key 'b', first on line 4"]


def test_keys_that_are_equal_in_python_are_duplicates() -> None:
    with pytest.raises(UsageError, match="duplicate key True"):
        parse_value("{1: a, true: b}")


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("kwargs: {a: &x 1, b: *x}", ["2:13", "2:22"]),
        ("kwargs: &x {}", ["2:9"]),
        ("kwargs: {a: *nowhere}", ["2:13"]),
    ],
)
def test_anchors_and_aliases_are_rejected(tmp_path: Path, text: str, places: list[str]) -> None:
    found = [line for line in mistakes(tmp_path, f"version: 1\n{text}") if "anchors (&)" in line]
    assert [line.split(": ")[0] for line in found] == places


def test_alias_bomb_is_rejected_without_being_expanded() -> None:
    levels = ["a: &a [x]"] + [f"{b}: &{b} [{', '.join(['*' + a] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi")]
    with pytest.raises(UsageError, match="anchors"):
        parse_value("\n".join(levels))


def test_merge_key_is_rejected(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "version: 1\nkwargs:\n  <<: {a: 1}\n")
    assert found == ["3:3: cannot read '<<' as merge: merge keys are not supported; write out the entries"]


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system [ls]",
        "!!python/name:os.system x",
        "!mine 1",
        "! 1",
        "!!binary aGk=",
        "!!timestamp 2024-01-01",
        "!!set {a}",
        "!!omap []",
        "!!map [1]",
        "!!seq {a: 1}",
        "!!str [1]",
        "!!int {}",
    ],
)
def test_unsupported_tag_is_rejected(text: str) -> None:
    with pytest.raises(UsageError, match=r"the tag .* is not supported"):
        parse_value(text)


@pytest.mark.parametrize("text", ["!!int 1.5", "!!bool yes", "!!float x", "!!null no", "!!int 1_000"])
def test_value_that_contradicts_its_tag_is_rejected(text: str) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        parse_value(text)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null"])
def test_empty_recipe_is_rejected(tmp_path: Path, text: str) -> None:
    (mistake,) = mistakes(tmp_path, text)
    assert mistake.endswith("the recipe is empty; start with 'version: 1'")


@pytest.mark.parametrize("text", ["- version: 1", "version 1", "5"])
def test_top_level_must_be_a_mapping(tmp_path: Path, text: str) -> None:
    assert mistakes(tmp_path, text) == ["1:1: the recipe must be a mapping; start with 'version: 1'"]


def test_second_document_is_rejected(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "version: 1\n---\nversion: 1\n")
    assert found == ["2:1: only one document is allowed"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("version: 1\nkwargs: {a: 1\n", "3:1"),
        ("version: 1\n\tseed: 1\n", "2:1"),
        ("version: 1\n  seed: 1\n", "2:7"),
        ("version: 1\nseed: \x01\n", "2:7"),
        ('version: 1\ndevice: "\\UFFFFFFFF"\n', "2:12"),
        ('version: 1\ndevice: "\\ud800"\n', "2:9"),
        ("kwargs: {glob: *.csv}\n", "1:17"),
    ],
)
def test_invalid_yaml_is_one_error_with_its_position(tmp_path: Path, text: str, place: str) -> None:
    (mistake,) = mistakes(tmp_path, text)
    assert mistake.startswith(f"{place}: ")


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000, "? " * 100_000])
def test_deep_nesting_is_an_error(tmp_path: Path, text: str) -> None:
    assert "nested deeper than 50 levels" in mistakes(tmp_path, text)[0]


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 5000, "9" * 400])
def test_too_long_number_is_an_error(tmp_path: Path, number: str) -> None:
    (mistake,) = mistakes(tmp_path, f"version: 1\nfind_lr: {{max_lr: {number}}}")
    assert mistake.startswith("2:19: ")
    assert mistake.endswith("as int: more than 250 digits")


@given(
    st.text() | st.lists(st.sampled_from([*"[]{}:,-?!&*#|>%@'\"\\\n\t ~<", "a", "version: 1", "\n", "  "])).map("".join)
)
def test_arbitrary_text_raises_only_recipe_errors(tmp_path_factory: Any, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.yaml"
    path.write_text(text, encoding="utf-8")
    with contextlib.suppress(RecipeError):
        load_recipe(path)


# Files that cannot be read


@pytest.mark.parametrize("name", ["missing.yaml", "", "null\0character.yaml"])
def test_path_that_is_not_a_file_is_an_error_with_a_hint(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecipeError, match="Cannot read the recipe") as caught:
        load_recipe(tmp_path / name)
    assert caught.value.hint


def test_a_file_too_long_for_a_recipe_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(RecipeError, match=r"model\.ckpt has more than the 1000000 bytes of a recipe"):
        load_recipe(path)


def test_invalid_utf_8_is_an_error_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("version: 1\ndevice: caf\xe9\n".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"latin\.yaml:2: the file is not valid UTF-8") as caught:
        load_recipe(path)
    assert caught.value.hint


def test_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbfversion: 1\r\nseed: 4\r\n")
    assert load_recipe(path).common == {"seed": 4}


# key=value pairs


def test_pairs_are_typed_like_a_recipe() -> None:
    pairs = ["a=1", "b=[1, x]", "lr=1e-3", "flag=no", "when=1:30", "none=", "eq=a=b", " spaced = 2"]
    assert parse_pairs(pairs) == {
        "a": 1,
        "b": [1, "x"],
        "lr": 1e-3,
        "flag": "no",
        "when": "1:30",
        "none": None,
        "eq": "a=b",
        "spaced": 2,
    }


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["width"], "--arg must be key=value, not 'width'"),
        (["=3"], "--arg must be key=value, not '=3'"),
        (["a=1", "a=2"], "--arg sets 'a' twice"),
        (["glob=*.csv"], "--arg glob: Cannot read"),
        (["list=[1, 2"], "--arg list: Cannot read"),
        (["x=@y"], "--arg x: Cannot read"),
    ],
)
def test_invalid_pair_is_a_usage_error_that_names_the_flag(pairs: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_pairs(pairs, "--arg")
    assert caught.value.message.startswith(message)
    assert caught.value.hint


def test_pair_with_yaml_syntax_hints_at_quotes_that_work() -> None:
    with pytest.raises(UsageError) as caught:
        parse_pairs(["glob=*.csv"], "-k")
    assert """-k 'glob="*.csv"'""" in (caught.value.hint or "")
    assert parse_pairs(['glob="*.csv"']) == {"glob": "*.csv"}


def test_value_that_yaml_reads_as_a_comment_is_rejected() -> None:
    with pytest.raises(UsageError, match="comment"):
        parse_pairs(["color=#fff"])


# The rest of the process


def test_import_does_not_import_yaml() -> None:
    code = "import sys, lrscout.recipes; print('yaml' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_global_yaml_loader_is_unchanged() -> None:
    before = copy.deepcopy({k: v for k, v in vars(yaml.SafeLoader).items() if k.startswith("yaml_")})
    resolvers = {first: list(pairs) for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()}
    parse_value("{a: 1e-3}")
    assert {k: v for k, v in vars(yaml.SafeLoader).items() if k.startswith("yaml_")} == before
    assert yaml.SafeLoader.yaml_implicit_resolvers == resolvers
    assert yaml.safe_load("[1e-3, no, 010, 1:30]") == ["1e-3", False, 8, 90]
