"""The closures that programs pass to `optimizer.step`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


def with_single_calls(args: Any, kwargs: Any, refuse: Callable[[], NoReturn], ready: Callable[[], None] | None) -> Any:
    """The arguments of `step`, with a closure whose second call is refused; None where there is no closure.

    `ready` is called as soon as the gradients are there, which a closure computes.
    """
    closure = kwargs.get("closure") or (args[1] if len(args) > 1 else None)
    if not callable(closure):
        if ready is not None:
            ready()
        return None
    called = False

    def once(*args: Any, **kwargs: Any) -> Any:
        nonlocal called
        if called:
            refuse()
        called = True
        loss = closure(*args, **kwargs)
        if ready is not None:
            ready()
        return loss

    return tuple(once if each is closure else each for each in args), {
        key: once if value is closure else value for key, value in kwargs.items()
    }
