"""Truth values where numbers are asked for, and the other way round: Python takes the one for the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from seam.errors import ConfigError


def check_kinds(said: Any, read: Any, where: str) -> None:
    """Raise a ConfigError where a document says `true` and it was read as 1, or 0 as `false`.

    Args:
        said: the document, as its YAML was parsed.
        read: the same as parameters, defaults and all, in plain values.
        where: names the document in errors.
    """
    for key, one, other in _pairs(said, read, ""):
        if isinstance(one, bool) != isinstance(other, bool) and isinstance(one, (bool, int, float)):
            wanted, got = ("a number", str(one).lower()) if isinstance(one, bool) else ("true or false", f"{one}")
            raise ConfigError(f"{where}: {key}: expected {wanted}, got {got}")


def _pairs(said: Any, read: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    """Values that stand in the same place, with the way to them."""
    if isinstance(said, Mapping) and isinstance(read, Mapping):
        for name, value in said.items():
            if name in read:
                yield from _pairs(value, read[name], f"{key}.{name}" if key else str(name))
    elif isinstance(said, (list, tuple)) and isinstance(read, (list, tuple)) and len(said) == len(read):
        for place, (one, other) in enumerate(zip(said, read, strict=True)):
            yield from _pairs(one, other, f"{key}[{place}]")
    elif isinstance(read, (bool, int, float)):
        yield key, said, read
