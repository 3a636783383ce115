"""Seeding, and saving and restoring the state of every random generator that a search uses."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

Restore = Callable[[], None]


def seed_everything(seed: int) -> None:
    """Seed the random generators of Python, NumPy (if loaded) and torch on all devices."""
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Restore the random states of Python, NumPy, torch and its accelerators on exit."""
    restore = random_state()
    try:
        yield
    finally:
        restore()


def random_state(owners: Iterable[Any] = ()) -> Restore:
    """Save the global random states and those of the generators that `owners` have as attributes.

    Returns:
        A function that restores all of them.
    """
    python_state = random.getstate()
    numpy = sys.modules.get("numpy")
    numpy_state = None if numpy is None else numpy.random.get_state()
    torch_state = torch.get_rng_state()
    devices = [_device_state(backend) for backend in (torch.cuda, torch.xpu) if backend.is_available()]
    mps_state = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    generators = [_generator_state(generator) for generator in _generators_of(owners)]

    def restore() -> None:
        random.setstate(python_state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if mps_state is not None:
            torch.mps.set_rng_state(mps_state)
        for restore_generator in (*devices, *generators):
            restore_generator()

    return restore


def generator_owners(loader: Any) -> list[Any]:
    """A loader and, if it is a DataLoader, its samplers and its dataset: all of them may own a random generator.

    So may the loaders that another one joins.
    """
    batch_sampler = getattr(loader, "batch_sampler", None)
    sampler = getattr(batch_sampler, "sampler", None)
    own = [loader, getattr(loader, "sampler", None), batch_sampler, sampler, getattr(loader, "dataset", None)]
    return own + [owner for each in getattr(loader, "flattened", ()) for owner in generator_owners(each)]


def _device_state(backend: Any) -> Restore:
    if backend.is_initialized():
        states = backend.get_rng_state_all()
        return lambda: backend.set_rng_state_all(states)
    # until the device is first used, only a seed is pending, which torch.manual_seed sets alike for all devices
    seed = torch.initial_seed()
    return lambda: backend.manual_seed_all(seed)


def _generators_of(owners: Iterable[Any]) -> list[Any]:
    numpy = sys.modules.get("numpy")
    kinds: tuple[type, ...] = (torch.Generator, random.Random)
    if numpy is not None:
        kinds = (*kinds, numpy.random.Generator, numpy.random.RandomState)
    values = [value for owner in owners for value in getattr(owner, "__dict__", {}).values()]
    return list({id(value): value for value in values if isinstance(value, kinds)}.values())


def _generator_state(generator: Any) -> Restore:
    if isinstance(generator, random.Random):
        state = generator.getstate()
        return lambda: generator.setstate(state)
    if hasattr(generator, "bit_generator"):  # from NumPy; each access to its state returns a new dict
        state = generator.bit_generator.state
        return lambda: setattr(generator.bit_generator, "state", state)
    state = generator.get_state()
    return lambda: generator.set_state(state)
