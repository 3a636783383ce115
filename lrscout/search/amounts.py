"""Amounts of memory in words."""

from __future__ import annotations


def format_bytes(amount: float) -> str:
    """Bytes with three digits and a binary unit: 971 MiB, 1.04 GiB."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while abs(amount) >= 999.5 and len(units) > 1:
        amount /= 1024
        del units[0]
    unit = units[0]
    if unit == "B" or abs(amount) >= 99.95:
        return f"{amount:.0f} {unit}"
    return f"{amount:.1f} {unit}" if abs(amount) >= 9.995 else f"{amount:.2f} {unit}"
