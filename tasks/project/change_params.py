"""Changes to `params.yaml` from the command line, and further problems in it: comments and order stay."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from seam.errors import ConfigError
from seam.files import write_bytes, write_text
from tasks.project.adopted import adopted, copy
from tasks.project.names_as_text import are_misread, names_as_text
from tasks.project.params import SUBJECTS, Params, class_names, flat, parse_params, read_document, round_trip
from tasks.project.source_changes import OF_A_CHECKPOINT, SOURCE_SECTIONS


@dataclass(frozen=True)
class Change:
    """What `--set` and `--params` make of the file at `path`: valid, and not written yet."""

    path: Path
    before: bytes
    """The file as it was read."""
    after: bytes
    """The file as it is to be; the same bytes where nothing changes."""
    lines: tuple[str, ...]
    """One per changed value: "search.alpha: 1.0 -> 0.5"."""
    params: Params
    """What it says then."""
    copies: Mapping[Path, Path] = field(default_factory=dict)
    """Made file that becomes a source -> where it is copied to."""

    def write(self) -> None:
        """Have the file as it is to be, and the sources that it names; where nothing changes it is left alone."""
        if self.lines:
            copy(self.copies)
            write_bytes(self.path, self.after)


def change_params(path: Path, overrides: Sequence[str] = (), overlay: Path | None = None) -> list[str]:
    """Set parameters in the file at `path`, as `dvc exp run -S` does, keeping its comments; the lines of the change.

    Nothing is written unless the result is valid and differs. Raises as `proposed`.
    """
    change = proposed(path, overrides, overlay)
    change.write()
    return list(change.lines)


def proposed(path: Path, overrides: Sequence[str] = (), overlay: Path | None = None) -> Change:
    """What would become of the file at `path`; nothing is written.

    Args:
        path: the project's `params.yaml`.
        overrides: "section.key=value" strings, values in YAML. With another checkpoint, what is known
            of the one before (`sha256`, ...) is forgotten unless it is given too.
        overlay: a file whose values replace those in `path` (`problems` and `targets` as a whole).

    Raises:
        ConfigError: an override that is not KEY=VALUE, or a result that is not valid.
    """
    document = read_document(path)
    content, before = path.read_bytes(), flat(document, empty=True)
    given: Mapping[str, Any] = {}
    if overlay is not None:
        changed = read_document(overlay)
        given = flat(changed, empty=True)
        _merge(document, changed)
    _set_all(document, overrides)
    _forget(document, before, {*given, *(override.partition("=")[0].strip() for override in overrides)})
    copies = adopted(path.parent, document) if overlay or overrides else {}
    params = parse_params(document, f"{overlay or path}" + (" with --set" if overrides else ""))
    lines = _lines(before, flat(document, empty=True))
    if are_misread(content.decode()):  # DVC reads the file too, and would not see one become the other
        lines.append("names that YAML takes for others: quoted")
    if not lines:
        return Change(path, content, content, (), params)
    buffer = io.StringIO()
    round_trip().dump(document, buffer)
    return Change(path, content, buffer.getvalue().encode(), tuple(lines), params, copies)


def _lines(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One per value that differs."""
    filled = {k for k in before.keys() - after.keys() if before[k] == {} and any(a.startswith(f"{k}.") for a in after)}
    return [
        f"{k}: {before.get(k, '(default)')} -> {after.get(k, '(removed)')}"
        for k in sorted({*before, *after} - filled)
        if before.get(k) != after.get(k)
    ]


def with_overrides(document: Any, overrides: Sequence[str]) -> None:
    """Set parameters, as "section.key=value" says with the value in YAML, in a document that was read.

    As `change_params`.

    Raises:
        ConfigError: one that is not KEY=VALUE.
    """
    before = flat(document, empty=True)
    _set_all(document, overrides)
    _forget(document, before, {override.partition("=")[0].strip() for override in overrides})


def _set_all(document: Any, overrides: Sequence[str]) -> None:
    for override in overrides:
        _set(document, override)


def _forget(document: Any, before: Mapping[str, Any], given: Collection[str]) -> None:
    """Take away what is known of a checkpoint that is another one now, but for what was given with it.

    Another architecture is another network: it has no checkpoint unless one is named with it.
    """
    for name in SOURCE_SECTIONS:
        section = document.get(name)
        if not isinstance(section, MutableMapping):
            continue

        def is_other(key: str, name: str = name, section: Mapping[str, Any] = section) -> bool:
            return bool(section.get(key) != before.get(f"{name}.{key}", section.get(key)))

        if name == "prepare_source" and is_other("architecture") and f"{name}.checkpoint" not in given:
            section["checkpoint"] = None
        if is_other("architecture") or is_other("checkpoint"):
            for key in OF_A_CHECKPOINT:
                if section.get(key) is not None and f"{name}.{key}" not in given:
                    section[key] = None


def add_problems(path: Path, problems: Mapping[str, Sequence[str]]) -> None:
    """Write further target problems below those in the file at `path`; everything else in it stays as it is.

    Raises:
        ConfigError: the result is not valid; nothing is written then.
    """
    document = read_document(path)
    lines = path.read_text().splitlines()
    keys = list(document)
    first, after = document.lc.key("problems")[0], [document.lc.key(k)[0] for k in keys[keys.index("problems") + 1 :]]
    end = min([*after, len(lines)])
    while lines[end - 1].strip() == "" or lines[end - 1].lstrip().startswith("#"):
        end -= 1  # blank lines and comments before the next section belong to it
    present = document["problems"]
    flow = present.fa.flow_style() is True
    indent = " " * (2 if flow else present.lc.key(next(iter(present)))[1])
    kept = ["problems:", *_problem_lines(present, indent)] if flow else lines[first:end]
    text = "\n".join([*lines[:first], *kept, *_problem_lines(problems, indent), *lines[end:]]) + "\n"
    parse_params(round_trip().load(text), str(path))
    write_text(path, text)


def _problem_lines(problems: Mapping[str, Any], indent: str) -> list[str]:
    names = {name: name if _is_plain(name) else json.dumps(name) for name in problems}
    return [
        f"{indent}{names[name]}: {json.dumps(list(class_names(classes)), ensure_ascii=False)}"
        for name, classes in problems.items()
    ]


def _is_plain(name: str) -> bool:
    """Whether YAML, of either version, reads this without quotes as the text it is."""
    return YAML(typ="safe").load(name) == name and name not in ("y", "n", "yes", "no", "on", "off")


def _set(document: Any, override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override}: expected KEY=VALUE, for example --set search.alpha=0.5")
    try:
        value = YAML(typ="safe").load(names_as_text(text, key.strip().split(".")))
    except YAMLError as e:
        raise ConfigError(f"--set {override}: the value is not YAML ({' '.join(str(e).split())})") from e
    *sections, last = key.strip().split(".")
    for section in sections:
        document = document.setdefault(section, {})
        if not isinstance(document, Mapping):
            raise ConfigError(f"--set {override}: '{section}' holds a value, not a section.")
    document[last] = value


def _merge(document: Any, changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(document.get(key), Mapping) and key not in SUBJECTS:
            _merge(document[key], value)
        else:
            document[key] = value
