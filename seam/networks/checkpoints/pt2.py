"""The weights in an archive of torch.export.save (.pt2), without its program.

The archive is a zip: the bytes of every tensor, and a JSON that says what they are. Tensors that it
keeps in a pickle are read as weights alone; nothing is executed, and no program is loaded.
"""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seam.files import check_archive, parse_json
from seam.networks.checkpoints import unpickled

_WEIGHTS = "data/weights/"
_MOST_RATIO = 8
"""torch.export.save does not compress."""
_CONFIG = "_weights_config.json"
_WHOLE = "serialized_state_dict."
"""Of archives by older versions of torch: one file of torch.save."""
_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""The numbers of torch.export's format."""


def load(path: Path) -> dict[str, Any]:
    """The state dict of the exported program.

    Raises:
        KeyError, ValueError, RuntimeError, OSError: damaged, or of another layout.
        pickle.UnpicklingError: a tensor that is not to be read without executing code.
    """
    with zipfile.ZipFile(path) as archive:
        check_archive(archive, path, _MOST_RATIO)
        for name in archive.namelist():
            if name.endswith(_CONFIG) and _WEIGHTS in name:
                folder = name[: name.rindex("/") + 1]
                entries = parse_json(archive.read(name), path)["config"]
                return {key: _tensor(archive, folder, entry) for key, entry in entries.items()}
            if name.rpartition("/")[2].startswith(_WHOLE):
                whole: dict[str, Any] = unpickled.load(io.BytesIO(archive.read(name)))
                return whole
    raise ValueError("no weights in it")


def _tensor(archive: zipfile.ZipFile, folder: str, entry: dict[str, Any]) -> Tensor:
    content = archive.read(folder + entry["path_name"])
    if entry["use_pickle"]:
        made: Tensor = unpickled.load(io.BytesIO(content))
        return made
    about = entry["tensor_meta"]
    sizes, strides = ([int(n["as_int"]) for n in about[key]] for key in ("sizes", "strides"))
    dtype, offset = _DTYPES[about["dtype"]], int(about["storage_offset"]["as_int"])
    if not content or not math.prod(sizes):
        return torch.empty(sizes, dtype=dtype)
    flat = torch.frombuffer(bytearray(content), dtype=dtype)
    if math.prod(sizes) > len(flat):
        raise ValueError(f"{len(flat)} values for a tensor of shape {sizes}")
    return flat.as_strided(sizes, strides, offset).clone()
