"""What of params.yaml and of the digests of the code decides whether a stage is current.

All of both for a stage of the project. For one of a subject what its kind's template names: an edit
of other parameters, or a further problem, then raises no question about hundreds of stages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.found_current import content_of, digest_of
from tasks.project.code_digests import digests_path
from tasks.project.pipeline_template import TEMPLATES, Template
from tasks.project.stages import KINDS
from tasks.project.subject import PIPELINE, Address, Subject

_ABSENT = "absent"


def parameters_of(root: Path, stage: Address) -> str:
    """A digest of the parameters and of the code that a stage depends on."""
    params, digests = root / "params.yaml", digests_path(root)
    names = None if stage.file == PIPELINE else _names(root, stage)
    if names is None:
        return f"{digest_of(params)} {digest_of(digests)}"
    values, code = _values(content_of(params)), _code(content_of(digests))
    own = [_value(values, name) for name in names]
    found = [own, code.get("code", {}).get(_base(stage.name)), code.get("libraries")]
    return hashlib.sha256(json.dumps(found, sort_keys=True, default=str).encode()).hexdigest()


def _names(root: Path, stage: Address) -> list[str] | None:
    """Of the parameters that a subject's stage depends on; None: they cannot be told, and all may count."""
    section, name = Path(stage.file).parts[:2]
    kind = next((kind for kind in KINDS.values() if kind.section == section), None)
    if kind is None:
        return None
    template = _template(root, kind.name, content_of(root / TEMPLATES / f"{kind.name}.yaml"))
    if template is None or "\nvars:" in f"\n{template.text}":  # its stages are defined by further parameters
        return None
    return template.params_of(_base(stage.name), Subject(kind.name, name))


def _base(stage: str) -> str:
    return stage.partition("@")[0]


def _value(values: Any, name: str) -> Any:
    for part in name.split("."):
        if not isinstance(values, Mapping) or part not in values:
            return _ABSENT
        values = values[part]
    return values


@lru_cache(maxsize=16)
def _template(root: Path, kind: str, text: bytes) -> Template | None:
    path = root / TEMPLATES / f"{kind}.yaml"
    return Template(KINDS[kind], path, text.decode()) if text else None


@lru_cache(maxsize=2)
def _values(text: bytes) -> Any:
    try:
        return YAML(typ="safe").load(text)
    except YAMLError:  # said by those who read it
        return {}


@lru_cache(maxsize=2)
def _code(text: bytes) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(text) if text else {}
    return content
