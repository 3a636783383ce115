"""The settings of a project: `lrscout.yaml`, or `[tool.lrscout]` in pyproject.toml, in the current folder."""

from __future__ import annotations

from pathlib import Path

from lrscout.errors import RecipeError
from lrscout.recipes import Recipe, checked, load_recipe, read_text
from lrscout.yaml_nodes import PlainDocument

RECIPE, PYPROJECT = "lrscout.yaml", "pyproject.toml"


def find_project(folder: Path = Path()) -> Recipe | None:
    """What a folder's own file says; None where there is none.

    Raises:
        RecipeError: it is invalid, or there are two.
    """
    own = folder / RECIPE
    table = _table(folder / PYPROJECT)
    if not own.is_file():
        return table
    if table is not None:
        raise RecipeError(
            f"Both {own} and [tool.lrscout] in {table.path} have settings.", hint="Keep them in one of the two."
        )
    return load_recipe(own)


def _table(path: Path) -> Recipe | None:
    if not path.is_file():
        return None
    text = read_text(path)
    if "lrscout" not in text:
        return None
    import tomllib  # most runs have no use for it

    try:
        table = tomllib.loads(text).get("tool", {}).get("lrscout")
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: {error}.") from None
    return None if table is None else checked(path, PlainDocument(table), start=None)
