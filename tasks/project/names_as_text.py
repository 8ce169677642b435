"""Names in YAML that are text whatever YAML takes them for: `010` is the class 010, and `true` is true."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tasks.project.stages import KINDS

_STRING, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
_ALL = "problems"
"""The section of which all is names."""
_KEYS = {kind.section for kind in KINDS.values()}
"""Sections of which the keys are."""
_VALUES = {"class", "classes", "of"}
"""Keys of their entries whose values are names."""


def names_as_text(text: str, section: Sequence[str] = ()) -> str:
    """The same YAML with quotes around the names in it that would be read as something else than text.

    Args:
        text: of a parameter file, or of the value of one parameter.
        section: the parameter that it is the value of, as parts of its name; empty for a whole file.

    Raises:
        ruamel.yaml.error.YAMLError: it is not YAML.
    """
    for name in sorted(_unquoted(text, section), key=lambda n: n.start_mark.index, reverse=True):
        end = name.end_mark.index
        start = end - len(name.value)  # behind its anchor
        text = text[:start] + json.dumps(name.value, ensure_ascii=False) + text[end:]
    return text


def are_misread(text: str) -> bool:
    """Whether a parameter file has names in it that another reader of YAML takes for other ones: 010 for 10.

    Raises:
        ruamel.yaml.error.YAMLError: it is not YAML.
    """
    return any(str(YAML(typ="safe").load(name.value)) != name.value for name in _unquoted(text, ()))


def _unquoted(text: str, section: Sequence[str]) -> list[Any]:
    """The names that are not text to YAML, each once though it may have aliases."""
    node = YAML().compose(text)
    found = _names(node, section) if isinstance(node, Node) else ()
    unlike = (n for n in found if n.tag != _STRING and n.style is None and n.value)
    return list({n.start_mark.index: n for n in unlike}.values())


def _names(node: Node, section: Sequence[str]) -> Iterator[Any]:
    if section:
        if section[0] == _ALL:
            yield from _scalars(node)
        elif section[0] in _KEYS and len(section) == 3:
            is_named = section[2] in _VALUES and node.tag != _NULL  # null: all
            yield from _scalars(node) if is_named else ()
        elif section[0] in _KEYS and isinstance(node, MappingNode):
            for key, value in node.value:
                yield from [key] if len(section) == 1 else ()
                yield from _names(value, [*section, str(key.value)])
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            yield from _names(value, [str(key.value)])


def _scalars(node: Node) -> Iterator[Any]:
    if isinstance(node, ScalarNode):
        yield node
    elif isinstance(node, MappingNode):
        for pair in node.value:
            yield from (name for part in pair for name in _scalars(part))
    elif isinstance(node, SequenceNode):
        for part in node.value:
            yield from _scalars(part)
