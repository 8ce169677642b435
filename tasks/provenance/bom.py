"""The bill of materials of a model version: CycloneDX 1.6 with a model card (an ML-BOM), written and read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seam import __version__
from seam.errors import ProvenanceError
from seam.files import write_json
from tasks.provenance.folder import read_limited
from tasks.provenance.origin import Origin, hashes_in, params_sha256
from tasks.provenance.packages import installed

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component

FOLDER = "provenance"
"""Of a version's folder."""
BOM = "bom.cdx.json"
NETWORK = "artifacts/model.onnx"
"""Of a version's folder: what is served."""
_MOST = 32 * 2**20
_FILE, _PACKAGE = "file:", "pypi:"
"""Before the names in references."""
_SHOWN = ("accuracy", "robust_accuracy", "defect_inheritance_rate")


@dataclass(frozen=True)
class Described:
    """What is registered."""

    name: str
    """Of the registered model."""
    result_sha256: str
    made_of: Mapping[str, Any]
    classes: Iterable[str]


def write_bom(described: Described, origin: Origin, files: Mapping[str, str], path: Path) -> None:
    """Write what a version is made of.

    Args:
        described: the version.
        origin: where it comes from.
        files: of the version: path -> sha256, all but the bill itself and the signature.
        path: of the bill.
    """
    from cyclonedx.output.json import JsonV1Dot6

    content = json.loads(JsonV1Dot6(_bom(described, origin, files)).output_as_string())
    content["metadata"]["component"]["modelCard"] = _model_card(described, origin)
    write_json(path, content)


def read_bom(path: Path) -> ReadBom:
    """Read a bill that anybody may have written.

    Raises:
        ProvenanceError: it is no CycloneDX bill.
    """
    content = read_limited(path, _MOST)
    try:
        text = content.decode()
        found = ReadBom(json.loads(text))
        wrong = _against_schema(text)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as e:
        words = " ".join(f"{type(e).__name__} {e}".split())[:160]
        raise ProvenanceError(f"{path.name}: expected a CycloneDX bill of materials, got {words}.") from e
    if wrong:
        raise ProvenanceError(f"{path.name}: expected a CycloneDX bill of materials, got {wrong}.")
    return found


class ReadBom:
    """A bill that was read."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        """Take its JSON.

        Raises:
            LookupError, TypeError, AttributeError: it is no bill of ours.
        """
        about = content["metadata"]["component"]
        self.model: str = about["name"]
        self.properties = _properties(about)
        """Of the version: kind, subject, result_sha256."""
        parts: dict[str, Mapping[str, Any]] = {part["bom-ref"]: part for part in content["components"]}
        self.files = {ref.removeprefix(_FILE): _sha256(part) for ref, part in parts.items() if ref.startswith(_FILE)}
        """Path -> sha256."""
        self.source, self.data, self.code = (
            {**_properties(parts[ref]), "name": str(parts[ref]["name"]), "sha256": _sha256(parts[ref])}
            for ref in ("source", "data", "code")
        )
        self.params_sha256 = _sha256(parts["parameters"])
        self.params: dict[str, Any] = json.loads(_properties(parts["parameters"])["values"])
        self.made_of = {r.removeprefix("made_of:"): _sha256(p) for r, p in parts.items() if r.startswith("made_of:")}
        """Name -> sha256, of what the network is made of."""
        self.packages = [
            (str(part["name"]), str(part["version"]), _properties(part)["installed_sha256"])
            for ref, part in parts.items()
            if ref.startswith(_PACKAGE)
        ]


def _against_schema(text: str) -> str | None:
    """What CycloneDX's own schema has against it."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return None if wrong is None else " ".join(str(wrong.data).split())[:160]


def _bom(described: Described, origin: Origin, files: Mapping[str, str]) -> Bom:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import ComponentType

    about: dict[str, Any] = {"kind": origin.kind, "subject": origin.subject, "result_sha256": described.result_sha256}
    about["model"] = described.made_of.get("model")
    network = files.get(NETWORK)
    model = _component(ComponentType.MACHINE_LEARNING_MODEL, described.name, "model", network, about)
    parts = [*_inputs(described, origin), *_packages()]
    bom = Bom()
    bom.metadata.component = model
    bom.metadata.tools.components.add(_component(ComponentType.APPLICATION, "seam", "tool", None, {}, __version__))
    bom.components.update(parts)
    bom.components.update(_component(ComponentType.FILE, path, _FILE + path, h, {}) for path, h in files.items())
    bom.register_dependency(model, parts)
    return bom


def _inputs(described: Described, origin: Origin) -> list[Component]:
    """Source network, data, parameters, code, and what else the network is made of."""
    from cyclonedx.model.component import ComponentType

    source, data, code = dict(origin.source), dict(origin.data), dict(origin.code)
    about = {key: source.get(key) for key in ("fetched_from", "params_total", "val_accuracy", "computed_on")}
    values = {"values": json.dumps(origin.params, sort_keys=True)}
    made_of = hashes_in(described.made_of)
    kinds = ComponentType
    return [
        _component(kinds.MACHINE_LEARNING_MODEL, source["architecture"], "source", source["sha256"], about),
        _component(kinds.DATA, data.pop("name"), "data", data.pop("sha256"), data),
        _component(kinds.DATA, "params.yaml", "parameters", params_sha256(origin.params), values),
        _component(kinds.APPLICATION, "seam", "code", code.pop("sha256"), code, __version__),
        *(_component(kinds.DATA, name, f"made_of:{name}", digest, {}) for name, digest in made_of.items()),
    ]


def _packages() -> list[Component]:
    from cyclonedx.model.component import ComponentType
    from packageurl import PackageURL

    return [
        _component(
            ComponentType.LIBRARY,
            package.name,
            f"{_PACKAGE}{package.name}",
            None,
            {"installed_sha256": package.installed_sha256},
            package.version,
            PackageURL("pypi", None, package.name.lower(), package.version),
        )
        for package in installed()
    ]


def _component(
    kind: Any,
    name: str,
    ref: str,
    sha256: str | None,
    properties: Mapping[str, Any],
    version: str | None = None,
    purl: Any = None,
) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component

    return Component(
        type=kind,
        name=name,
        bom_ref=ref,
        version=version,
        purl=purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else None,
        properties=[Property(name=f"seam:{k}", value=str(v)) for k, v in properties.items() if v is not None],
    )


def _model_card(described: Described, origin: Origin) -> dict[str, Any]:
    shown = {key: value for key, value in origin.metrics.items() if key.rpartition("/")[2] in _SHOWN}
    return {
        "modelParameters": {
            "task": "image-classification",
            "modelArchitecture": origin.source["architecture"],
            "datasets": [{"ref": "data"}],
            "inputs": [{"format": "uint8 images, (n, height, width, channels)"}],
            "outputs": [{"format": f"probabilities of {', '.join(described.classes)}"}],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [{"type": key, "value": f"{value:.6g}"} for key, value in sorted(shown.items())]
        },
    }


def _properties(part: Mapping[str, Any]) -> dict[str, str]:
    return {p["name"].removeprefix("seam:"): p["value"] for p in part.get("properties", ())}


def _sha256(part: Mapping[str, Any]) -> str:
    hashes = {h["alg"]: h["content"] for h in part["hashes"]}
    return str(hashes["SHA-256"])
