"""Where a result comes from, gathered from the project when it is registered."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seam.files import read_json
from seam.hardware import in_words
from tasks.project.code_digests import code_sha256, digests_path
from tasks.project.stage import StageContext
from tasks.tracking.environment import data_dvc, git_commit
from tasks.tracking.evidence import RunEvidence

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Origin:
    """Of one result."""

    kind: str
    subject: str
    source: Mapping[str, Any]
    """Of source.json."""
    data: Mapping[str, Any]
    """name, sha256 of the prepared data set, images in each split, and data.dvc's md5, as far as there is one."""
    params: Mapping[str, Any]
    """Every parameter, those of the subject alone among its kind."""
    code: Mapping[str, str]
    """sha256 of the whole, python, the machine that computed the result, git_commit, git_dirty, and code.STAGE of each
    stage of the kind, as far as known."""
    metrics: Mapping[str, float]


def origin_of(context: StageContext, evidence: RunEvidence) -> Origin:
    """Of what a stage registers."""
    row = context.whole.row
    data = {
        "name": Path(evidence.data.config.path).stem or "data",
        "sha256": evidence.data.sha256,
        **{str(key): str(value) for key, value in evidence.data.profile.items()},
        **data_dvc(context.root),
    }
    params = context.params.model_dump(mode="json")
    return Origin(
        kind=row.name,
        subject=context.name,
        source=read_json(context.artifact(row.source, "source.json")),
        data=data,
        params={**params, row.section: {context.name: params[row.section][context.name]}},
        code=_code(context, str(evidence.tags.get("seam.computed_on") or in_words())),
        metrics=evidence.metrics,
    )


def params_sha256(params: Mapping[str, Any]) -> str:
    """Over the parameters, whatever their order."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()


def hashes_in(made_of: Mapping[str, Any]) -> dict[str, str]:
    """Name -> sha256, of what a result is made of."""
    return {name: value for name, value in made_of.items() if isinstance(value, str) and _SHA256.fullmatch(value)}


def _is_changed(root: Path) -> bool:
    """Whether code of the project differs from the commit that is checked out."""
    command = ["git", "status", "--porcelain", "--", "seam", "tasks"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    return bool(done.stdout.strip())


def _code(context: StageContext, machine: str) -> dict[str, str]:
    stages = {stage.name for stage in context.whole.row.stages}
    found = {"sha256": code_sha256(), "python": platform.python_version(), "machine": machine}
    if commit := git_commit(context.root):
        found |= {"git_commit": commit, "git_dirty": str(_is_changed(context.root)).lower()}
    path = digests_path(context.root)
    digests = read_json(path)["code"] if path.is_file() else {}
    return found | {f"code.{name}": digest for name, digest in digests.items() if name in stages}
