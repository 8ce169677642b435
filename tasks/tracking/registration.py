"""The one road into the registry: run, evidence, version, aliases by the gates, card, files.

A stage gathers what goes along it.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from seam.files import write_text
from tasks.project.environment import tracking_uri
from tasks.project.stage import StageContext, StageResult
from tasks.provenance.attest import attest
from tasks.provenance.bom import Described
from tasks.provenance.origin import origin_of
from tasks.tracking.aliases import Aliases, Model
from tasks.tracking.contest import STANDING, Standing
from tasks.tracking.environment import data_dvc, hardware, versions
from tasks.tracking.evidence import RunEvidence, log_evidence, run_tags
from tasks.tracking.gates import Verdict
from tasks.tracking.policy import RegistryPolicy
from tasks.tracking.runs import finished_run
from tasks.tracking.settling import Settled, settle
from tasks.tracking.store import unless_raced
from tasks.tracking.turns import turn
from tasks.tracking.versions import (
    ServedModel,
    create_version,
    drop_unused,
    find_or_log_model,
    find_version,
    make_registered_model,
)

logger = logging.getLogger(__name__)

RunFiles = Mapping[str, Path | str]
"""Path among a run's artifacts -> the file, or its text."""


@dataclass(frozen=True)
class Payload:
    """What a stage registers."""

    evidence: RunEvidence
    verdicts: Sequence[Verdict]
    """Of the gates against what the result was made of."""
    standing: Standing
    """What the champion is held against, and later versions against this one."""
    served: ServedModel | None
    """None: the run is logged, and nothing is registered."""
    publish: Callable[[Mapping[str, Any], Path], RunFiles]
    """Given the registration (registered_model, version, aliases, promoted, run_id, gates, champion,
    against_champion, doubt, why, and result_sha256 where something is registered) and the stage's new folder,
    writes card.json and what goes with it; returns the files of the run."""
    pieces: Callable[[Path], None] | None = None
    """Writes into a folder of the version what its network can be put together from again; None:
    nothing is."""


def register(context: StageContext, payload: Payload, policy: RegistryPolicy) -> StageResult:
    """Log, register, judge, publish; run again after a kill, it finishes what is missing and repeats nothing.

    The version gets the alias of the champion if it meets every gate and is better than the present one;
    see `settle`.

    Raises:
        TrackingError: the MLflow store cannot be used.
    """
    context.progress(0.1, "connect to MLflow")
    with finished_run(context) as (client, run_id):
        context.progress(0.2, "log the run")
        unless_raced(lambda: log_evidence(client, run_id, payload.evidence))
        unless_raced(lambda: client.log_batch(run_id, tags=run_tags(_environment(context))))
        registration: dict[str, Any] = {"registered_model": None, "version": None, "run_id": run_id}
        registration |= {"gates": [verdict.as_dict() for verdict in payload.verdicts], **asdict(Settled())}
        if payload.served is not None:
            context.progress(0.4, "register the model")
            served = _attested(context, payload, payload.served)
            registration |= _version(context, client, run_id, payload, served, policy)
        _tell(context, payload.verdicts, registration)
        context.progress(0.7, "report")
        with context.publish() as out:
            log_files(client, run_id, payload.publish(registration, out))
            registered = "/".join(str(registration[name]) for name in ("registered_model", "version"))
            said = run_tags({"seam.promoted": registration["promoted"], "seam.registered": registered})
            unless_raced(lambda: client.log_batch(run_id, tags=said))
    shown = {name: registration[name] for name in ("registered_model", "version")}
    return context.result({**shown, "aliases": ", ".join(registration["aliases"])})


def log_files(client: MlflowClient, run_id: str, files: RunFiles) -> None:
    """Put the files among the run's artifacts."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copyfile(content, path)
            else:
                write_text(path, content)
        client.log_artifacts(run_id, folder)


def _version(
    context: StageContext,
    client: MlflowClient,
    run_id: str,
    payload: Payload,
    served: ServedModel,
    policy: RegistryPolicy,
) -> dict[str, Any]:
    """The version of the result and what became of it; files are written before the turn, which is short."""
    make_registered_model(client, served)
    model_id = None if find_version(client, served) else find_or_log_model(client, run_id, served)
    with turn(client, tracking_uri(context.root), served.name) as keep:
        version = find_version(client, served)
        if version is None:
            model_id = model_id or find_or_log_model(client, run_id, served)  # the version was deleted meanwhile
            keep()
            version = create_version(client, run_id, served, model_id)
        for name, value in {**served.tags, STANDING: payload.standing.as_tag()}.items():
            client.set_model_version_tag(version.name, version.version, name, value)
        model = Model(client, served.name, Aliases(policy.alias, policy.challenger_alias))
        settled = settle(model, int(version.version), payload.verdicts, payload.standing, policy, keep)
    if model_id is not None:
        drop_unused(client, model_id, version)
    about = {"registered_model": version.name, "version": int(version.version), "result_sha256": served.result_sha256}
    return {**about, **asdict(settled)}


def _attested(context: StageContext, payload: Payload, served: ServedModel) -> ServedModel:
    """The same, published with what it comes from."""
    described = Described(served.name, served.result_sha256, served.made_of, served.classes)
    origin = origin_of(context, payload.evidence)
    return replace(served, attest=partial(attest, described=described, origin=origin, pieces=payload.pieces))


def _environment(context: StageContext) -> dict[str, Any]:
    """Where the result is registered, and with what."""
    return {
        **{f"seam.hardware.{k}": v for k, v in hardware().items()},
        **{f"seam.version.{k}": v for k, v in versions().items()},
        **{f"seam.{k}": v for k, v in data_dvc(context.root).items()},
    }


def _tell(context: StageContext, verdicts: Sequence[Verdict], registration: Mapping[str, Any]) -> None:
    others = [Verdict.from_dict(gate) for gate in registration["against_champion"]]
    for verdict in [*verdicts, *others]:
        log = logger.info if verdict.passed else logger.warning
        log("%s: gate %s %s: %s", context.name, verdict.gate, "met" if verdict.passed else "not met", verdict.text)
    if registration["why"]:
        logger.info("%s: %s", context.name, registration["why"])
    if registration["doubt"]:
        logger.warning("%s: %s", context.name, registration["doubt"])
