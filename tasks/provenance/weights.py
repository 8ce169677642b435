"""That a version's network is its source under its mask, with its head: put together again, and compared."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seam.compaction import ENGINE_BLOCK, compact
from seam.errors import ProvenanceError, SeamError
from seam.inference.export import export_serving_onnx
from seam.networks.source import Source, load_source
from tasks.project.measured import MEASURED
from tasks.provenance.bom import FOLDER, NETWORK, ReadBom
from tasks.provenance.folder import MOST_BYTES, read_limited
from tasks.provenance.pieces import MASK, Pieces, load_pieces, moved, put_together

ROUNDING = 1e-6
"""Between two machines that fold a normalisation into a weight: relative to the largest weight of the tensor."""


class Weights:
    """One version's, whose files are what its bill of materials says."""

    def __init__(self, folder: Path, bill: ReadBom, source: Path) -> None:
        """Take the version's folder, its bill, and the folder of the prepared source."""
        self._folder, self._bill, self._where = folder, bill, source

    def check_mask(self) -> str:
        """The mask pack is the one of the bill, for the source of the bill, which is here.

        Raises:
            ProvenanceError: it is not.
            SourceError: the source here is damaged.
        """
        pack, said = self._pieces.pack, self._bill.made_of.get("mask_sha256")
        if pack.mask_sha256 != said:
            raise ProvenanceError(f"{FOLDER}/{MASK}: expected the mask {said} of the bill, got {pack.mask_sha256}")
        if pack.source_sha256 != self._bill.source["sha256"]:
            raise ProvenanceError(
                f"{FOLDER}/{MASK}: expected the mask of the source {self._bill.source['sha256']}, got one of"
                f" {pack.source_sha256}"
            )
        has = self._source.info.sha256
        if has != pack.source_sha256:
            raise ProvenanceError(
                f"{self._where}: expected the source with sha256 {pack.source_sha256}, to hold the mask against, got"
                f" {has}; `dvc pull` that one, or give --source FOLDER, or --without-source"
            )
        kept = sum(int(mask.sum()) for mask in pack.masks.values())
        whole = sum(mask.numel() for mask in pack.masks.values())
        return f"made for this source, {kept:,} of {whole:,} weights kept"

    def check_network(self) -> str:
        """The served file is the source, masked, with its head, as the version's kept weights say.

        Raises:
            ProvenanceError: it has other weights.
        """
        model = put_together(self._pieces, self._source)
        others, total, most = moved(self._pieces, self._source)
        info = self._source.info
        with tempfile.TemporaryDirectory() as folder:
            again = Path(folder) / "model.onnx"
            try:
                compacted = compact(model, self._source.example(), ENGINE_BLOCK).module
                export_serving_onnx(compacted, self._source.preprocess(), info.image_shape, again)
            except SeamError as e:
                raise ProvenanceError(f"{FOLDER}: what it holds cannot be put together: {e}") from e
            words = compare(again.read_bytes(), read_limited(self._folder / NETWORK, MOST_BYTES))
        row = MEASURED.get(self._bill.properties.get("model", ""))
        if others and (row is None or row.weights is None or row.weights[0] != "finetune"):
            raise ProvenanceError(f"{FOLDER}: {others:,} of {total:,} kept weights are not those of the source")
        trained = f"; fine-tuned, {others:,} of {total:,} kept weights moved, by {most:.3g} at most" if others else ""
        return f"source x mask x head {words}{trained}"

    @cached_property
    def _pieces(self) -> Pieces:
        return load_pieces(self._folder / FOLDER)

    @cached_property
    def _source(self) -> Source:
        return load_source(self._where)


def compare(again: bytes, shipped: bytes) -> str:
    """How the served file equals the one that was made again, in words.

    Raises:
        ProvenanceError: other operators, or other weights.
    """
    if again == shipped:
        return "gives the served file, byte by byte"
    wanted, found = _taken_apart(again), _taken_apart(shipped)
    most = 0.0
    for (name, values), (_, others) in zip(wanted.weights, found.weights, strict=False):
        difference = float(np.abs(values - others).max()) if values.shape == others.shape else float("inf")
        most = max(most, difference)
        if not difference <= ROUNDING * max(1.0, float(np.abs(values).max())):
            raise ProvenanceError(f"{NETWORK}: {name} differs by {difference:.3g} from what it is made of")
    if wanted.rest != found.rest:
        by = " and ".join(dict.fromkeys((found.made_by, wanted.made_by)))
        raise ProvenanceError(f"{NETWORK}: expected the graph of what it is made of, got another (exported by {by})")
    return f"gives the served weights, within {most:.2g}"


@dataclass(frozen=True)
class _TakenApart:
    """An ONNX file."""

    weights: list[tuple[str, npt.NDArray[np.float32]]]
    """Its float tensors that are not empty, in order."""
    rest: bytes
    """All but their values."""
    made_by: str


def _taken_apart(content: bytes) -> _TakenApart:
    import onnx
    from onnx.onnx_ml_pb2 import TensorProto

    try:
        model = onnx.load_model_from_string(content)
        constants = [a.t for node in model.graph.node for a in node.attribute if a.HasField("t")]
        weights = []
        for tensor in [*model.graph.initializer, *constants]:
            if tensor.data_type == TensorProto.FLOAT and tensor.data_location == TensorProto.DEFAULT:
                if (values := onnx.numpy_helper.to_array(tensor)).size:
                    weights.append((tensor.name, values))
                tensor.ClearField("raw_data")
                tensor.ClearField("float_data")
        made_by = f"{model.producer_name} {model.producer_version}"
        return _TakenApart(weights, model.SerializeToString(deterministic=True), made_by)
    except Exception as e:  # of protobuf and numpy, of what anybody may have written
        raise ProvenanceError(f"{NETWORK}: expected an ONNX file, got {type(e).__name__}") from e
