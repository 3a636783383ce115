"""Numbers as text: learning rates, losses, durations and amounts of memory."""

from __future__ import annotations

import math


def format_lr(lr: float) -> str:
    """A learning rate with two digits: 3.2e-3."""
    return scientific(lr, 1)


def scientific(value: float, decimals: int) -> str:
    """Scientific notation with a short exponent: 3.2e-3 rather than 3.2e-03."""
    if not math.isfinite(value):
        return str(value)
    mantissa, exponent = f"{value:.{decimals}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def format_loss(loss: float) -> str:
    """A loss with four digits: 0.4121, 2.291, 1.234e5."""
    if loss == 0 or 1e-3 <= abs(loss) < 1e5:
        return f"{loss:#.4g}"
    return scientific(loss, 3)


def format_seconds(seconds: float) -> str:
    """A duration in readable units: 0.42 s, 12.3 s, 3 min 5 s, 2 h 4 min."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def format_milliseconds(seconds: float) -> str:
    """A duration in milliseconds with at least three digits: 1067, 85.3, 0.412."""
    return format_rate(seconds * 1000)


def format_clock(seconds: float) -> str:
    """A duration as shown by a clock: 0:09, 12:30, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def format_bytes(amount: float) -> str:
    """An amount of memory with three digits and a binary unit: 971 MiB, 1.04 GiB."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while abs(amount) >= 999.5 and len(units) > 1:
        amount /= 1024
        del units[0]
    unit = units[0]
    if unit == "B" or abs(amount) >= 99.95:
        return f"{amount:.0f} {unit}"
    return f"{amount:.1f} {unit}" if abs(amount) >= 9.995 else f"{amount:.2f} {unit}"


def format_rate(rate: float) -> str:
    """Samples per second with at least three digits: 1067, 85.3, 0.412."""
    return f"{rate:.0f}" if rate >= 99.95 else f"{rate:.{max(1, 2 - math.floor(math.log10(max(rate, 1e-9))))}f}"
