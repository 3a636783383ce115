"""The closures that programs pass to `optimizer.step`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


def with_single_calls(args: Any, kwargs: Any, refuse: Callable[[], NoReturn]) -> Any:
    """The arguments of `step`, with a closure whose second call is refused; None where there is no closure."""
    closure = kwargs.get("closure") or (args[1] if len(args) > 1 else None)
    if not callable(closure):
        return None
    called = False

    def once(*args: Any, **kwargs: Any) -> Any:
        nonlocal called
        if called:
            refuse()
        called = True
        return closure(*args, **kwargs)

    return tuple(once if each is closure else each for each in args), {
        key: once if value is closure else value for key, value in kwargs.items()
    }
