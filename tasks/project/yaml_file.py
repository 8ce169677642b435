"""YAML files that people edit, read within limits, their faults said in one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from seam.errors import ConfigError, words

_MOST_BYTES = 1 << 24
_MOST_VALUES = 10_000_000
"""Written out: an alias of a thousand values that is used a thousand times is a million of them."""


def plain_yaml(text: str) -> Any:
    """Plain values, nothing is constructed."""
    return YAML(typ="safe").load(text)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: too large, not UTF-8, or not YAML.
    """
    return parse_yaml(yaml_text(path), path)


def yaml_text(path: Path) -> str:
    """The text of a YAML file; raises as `read_yaml`."""
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise ConfigError(f"{path}: expected YAML, got {size:,} bytes, at most {_MOST_BYTES:,} are read.")
        return path.read_text("utf-8")
    except (UnicodeDecodeError, IsADirectoryError) as e:
        raise ConfigError(f"{path}: expected YAML, got {words(e)}") from e


def parse_yaml(text: str, path: Path, load: Callable[[str], Any] = plain_yaml) -> Any:
    """The content of a YAML file whose text was read; raises a ConfigError as `read_yaml`."""
    try:
        content = load(text)
        if _values(content, {}) > _MOST_VALUES:
            raise ValueError("aliases within aliases; write it out")
    except (YAMLError, ValueError, TypeError, AttributeError, RecursionError) as e:
        raise ConfigError(f"{path}: expected YAML, got {words(e)}") from e
    return content


def _values(content: Any, known: dict[int, int]) -> int:
    """How many there are where every alias is written out."""
    if not isinstance(content, (Mapping, list)):
        return 1
    if id(content) not in known:
        known[id(content)] = _MOST_VALUES + 1  # of what holds itself
        parts = content.values() if isinstance(content, Mapping) else content
        known[id(content)] = 1 + sum(_values(part, known) for part in parts)
    return known[id(content)]
