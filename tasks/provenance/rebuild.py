"""A version made again from its commit, its parameters and its data, and held against what was registered."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seam.errors import ConfigError, ProvenanceError
from seam.files import sha256_file
from seam.hardware import in_words
from seam.inference.export import TOLERANCE, export_serving_onnx
from seam.masks.pack import load_mask_pack
from tasks.inputs.problem import load_compacted, problem_images, problem_source
from tasks.project.environment import tracking_uri
from tasks.project.measured import MEASURED
from tasks.project.params import Params, parse_params
from tasks.project.stage import StageContext
from tasks.project.stages import PROBLEM
from tasks.project.subject import Subject, check
from tasks.provenance.bom import FOLDER, NETWORK, ReadBom
from tasks.provenance.clone import Clone
from tasks.provenance.packages import differing
from tasks.provenance.pieces import TIMES
from tasks.tracking.environment import data_dvc, versions

Say = Callable[[str], None]
REBUILT = (PROBLEM.name,)
"""The kinds whose versions can be made again."""
_TIMES = "profile_source"
"""The stage that takes times: what it measured is data, and comes with the version."""


@dataclass(frozen=True)
class Rebuilt:
    """A version and what was made again."""

    inputs: list[str]
    """What differs of what it is made from, in words: packages, code, data, parameters, machine."""
    same_source: bool
    same_mask: bool
    mask_sha256: tuple[str, str]
    """Then, and now."""
    same_file: bool
    """Whether the served network is the same, byte by byte."""
    deviation: float
    """Largest, of a probability, over the test images."""
    other_labels: int
    """Test images that get another class."""
    images: int

    @property
    def is_same(self) -> bool:
        """The same mask, and the same outputs within what an engine is allowed to differ from torch."""
        return self.same_mask and self.deviation <= TOLERANCE


def rebuild(root: Path, folder: Path, bill: ReadBom, place: Path, say: Say = lambda _: None) -> Rebuilt:
    """Make a version again in a fresh clone, and compare.

    Args:
        root: the project, whose repository has the version's commit.
        folder: of the version.
        bill: its bill of materials; its parameters may name code, so it is to be one that is trusted.
        place: the new folder of the clone.
        say: is told what goes on.

    Raises:
        ConfigError: it is no version of a target problem.
        ProvenanceError: the commit or the data is not there, or a stage fails.
    """
    name, commit, params = _asked(bill)
    clone = Clone(root, commit, place)
    inputs = [*_other_packages(bill), *clone.differing_params(bill.params)]
    clone.take_params(bill.params)
    inputs += _other_code(bill, params, clone.digests())
    inputs += _data(clone, bill)
    asked_by = {PROBLEM.source: tracking_uri(root)}
    of_problem = {each: [f"--{PROBLEM.name}", name] for each in PROBLEM.of_subjects}
    for stage in _stages(params):
        say(stage)
        if stage == _TIMES and (times := folder / FOLDER / TIMES).is_file():
            clone.give(stage, times)
            continue
        asks = asked_by.get(stage)  # a checkpoint may be in the registry
        clone.run(stage, of_problem.get(stage, []), asks)
    found = sha256_file(clone.root / "artifacts" / PROBLEM.data / "dataset.safetensors")
    if found != bill.data["sha256"]:
        inputs.append(f"data: {bill.data['name']} prepared has sha256 {bill.data['sha256']} then, {found} here")
    say("compare")
    context = StageContext("register_model", params, clone.root, Subject(PROBLEM.name, name))
    return compared(context, folder, bill, inputs)


def _asked(bill: ReadBom) -> tuple[str, str, Params]:
    """Name of the problem, the commit, and the parameters."""
    kind, name = bill.properties.get("kind"), bill.properties.get("subject", "")
    if kind not in REBUILT:
        raise ConfigError(f"{bill.model}: expected a version of a target problem, got one of a {kind}.")
    commit = bill.code.get("git_commit")
    if commit is None:
        raise ProvenanceError(f"{bill.model}: it was made outside version control, no commit is known.")
    params = parse_params(bill.params, f"{bill.model}, its bill of materials")
    check(params, Subject(PROBLEM.name, name))
    return name, commit, params


def _stages(params: Params) -> list[str]:
    """Those that make the network, in their order."""
    weights = MEASURED[params.register_model.model].weights
    assert weights is not None, "what is registered is saved"
    names = [stage.name for stage in PROBLEM.stages]
    return names[: names.index(weights[0]) + 1]


def _other_packages(bill: ReadBom) -> list[str]:
    """Those that results are made with, and how many others."""
    packages = [package for package in bill.packages if package[0] != "seam"]  # its code is looked at by stage
    counted = {name.lower() for name in versions()}
    others = differing(package for package in packages if package[0].lower() not in counted)
    found = differing(package for package in packages if package[0].lower() in counted)
    if (python := bill.code.get("python", "")) != versions()["python"]:
        found.append(f"python: {python} then, {versions()['python']} here")
    return [f"package {words}" for words in found] + ([f"{len(others)} other packages"] if others else [])


def _other_code(bill: ReadBom, params: Params, digests: Mapping[str, str]) -> list[str]:
    """Stages whose code at the commit is not what the version was made by."""
    then = {name.removeprefix("code."): digest for name, digest in bill.code.items() if name.startswith("code.")}
    why = ", which had changes that were not committed" if bill.code.get("git_dirty") == "true" else ""
    return [
        f"code of stage {stage}: {then[stage]} then, {digests[stage]} at the commit{why}"
        for stage in _stages(params)
        if stage in then and stage in digests and then[stage] != digests[stage]
    ]


def _data(clone: Clone, bill: ReadBom) -> list[str]:
    """Fetch the data; what differs of its record."""
    said, here = bill.data.get("data_dvc_md5"), data_dvc(clone.root).get("data_dvc_md5")
    if here is not None:
        clone.pull("data.dvc")
    return [f"data: data.dvc has md5 {said} then, {here} at the commit"] if said != here else []


def compared(context: StageContext, folder: Path, bill: ReadBom, inputs: list[str]) -> Rebuilt:
    """What the clone has made, against the version."""
    with contextlib.chdir(context.root), tempfile.TemporaryDirectory() as temporary:  # where own architectures are
        source = problem_source(context)
        again = Path(temporary) / "model.onnx"
        model = load_compacted(context, context.params.register_model.model).module
        export_serving_onnx(model, source.preprocess(), source.info.image_shape, again)
        images = np.asarray(problem_images(context, "test").images)
        ours, theirs = _answers(again, images), _answers(folder / NETWORK, images)
        same_file = again.read_bytes() == (folder / NETWORK).read_bytes()
    mask = load_mask_pack(context.artifact("search", "mask.safetensors")).mask_sha256
    then = bill.made_of.get("mask_sha256", "")
    if ours.shape != theirs.shape:
        raise ProvenanceError(f"{bill.model}: expected {theirs.shape[1]} classes as then, got {ours.shape[1]}.")
    if (machine := bill.code.get("machine")) not in (None, in_words()):
        inputs = [*inputs, f"machine: {machine} then, {in_words()} here"]
    return Rebuilt(
        inputs=inputs,
        same_source=source.info.sha256 == bill.source["sha256"],
        same_mask=mask == then,
        mask_sha256=(then, mask),
        same_file=same_file,
        deviation=float(np.abs(ours - theirs).max()) if len(images) else 0.0,
        other_labels=int((ours.argmax(1) != theirs.argmax(1)).sum()),
        images=len(images),
    )


def _answers(network: Path, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Probabilities, (images, classes)."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0].name
    found = [session.run(None, {given: images[i : i + 256]})[0] for i in range(0, len(images), 256)]
    return np.concatenate(found)
