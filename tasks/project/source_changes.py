"""Another source than the problems': the keys of `prepare_source` that differ for it."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from typing import Annotated, Any

from pydantic import AfterValidator, TypeAdapter, ValidationError

from seam.configs.check import ConfigValueError
from seam.configs.networks import SourceConfig
from seam.errors import ConfigError

SOURCE_SECTIONS = ("prepare_source", "transfer")
"""Of the parameters, with a network, and perhaps its checkpoint."""
OF_A_CHECKPOINT = ("sha256", "weights", "expected_accuracy")
"""What is known of a checkpoint, and not of another one."""
_OF_A_TRAINING = ("epochs", "lr", "batch_size", "weight_decay", "augment")
_KEYS = ("source", "weak")
"""Of an entry, with changes."""


def own_sources(entry: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The sources that an entry of a section has of its own: the key each is under, and what differs."""
    for key in _KEYS:
        if changes := getattr(entry, key, None):
            yield key, changes


def changed_source(config: SourceConfig, changes: Mapping[str, Any] | None, where: str) -> SourceConfig:
    """The source with these changes.

    Another architecture is another network: it has no checkpoint unless one is named with it.

    Args:
        config: of the problems' source.
        changes: keys that differ; None: none do.
        where: the parameter, for messages.

    Raises:
        ConfigError: they do not go together, or with the rest.
    """
    given = dict(changes or {})
    values = asdict(config)
    if "architecture" in given:
        values["checkpoint"] = None
    if {"architecture", "checkpoint"} & given.keys():
        values |= dict.fromkeys(OF_A_CHECKPOINT)
    values |= given
    asked = [key for key in _OF_A_TRAINING if key in given]
    if asked and values["checkpoint"] is not None:
        raise ConfigError(
            f"{where}: {asked[0]} is of a training, and the checkpoint {values['checkpoint']} is trained; leave it out,"
            " or add checkpoint: null to train."
        )
    try:
        return TypeAdapter(SourceConfig).validate_python(values)
    except ValidationError as e:
        raise ConfigError(f"{where}: {_line(e)[1]}") from e


def _valid(changes: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Changes whose keys are known and whose values are allowed."""
    if changes is None:
        return None
    try:
        TypeAdapter(SourceConfig).validate_python(dict(changes))
    except ValidationError as e:
        raise ConfigValueError(*_line(e)) from e
    return changes


def _line(error: ValidationError) -> tuple[str, str]:
    """The key and what is wrong with it."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    key = cause.name if isinstance(cause, ConfigValueError) else ".".join(map(str, first["loc"]))
    if first["type"] == "unexpected_keyword_argument":
        known = [field.name for field in fields(SourceConfig)]
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        return key, f"unknown key '{key}' of prepare_source; " + (
            f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}."
        )
    message = first["msg"].removeprefix("Value error, ")
    return key, message if "got" in message else f"{message}, got {first['input']!r}"


SourceChanges = Annotated[Mapping[str, Any] | None, AfterValidator(_valid)]
"""Keys of `prepare_source` that differ; null: none do."""
