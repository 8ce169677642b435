"""The tensors in a file, whatever framework wrote it. Nothing in it is executed."""

from __future__ import annotations

import logging
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from seam.errors import DamagedFileError, SourceError, SuspectResultWarning, words
from seam.files import beside, read_json, sha256_file
from seam.networks.checkpoints import pt2, unpickled
from seam.networks.checkpoints.kinds import Readable, kind_of
from seam.networks.checkpoints.pickled import examine

logger = logging.getLogger(__name__)

_SHARD = re.compile(r"-\d+-of-\d+$")
_OF_TRAINING = re.compile(r"(optim|opt_|lr_sched|sched|scaler|callback|loops$|rng)", re.IGNORECASE)
"""Parts of a checkpoint that hold the state of a training, beside the weights."""
_WRITTEN_AS: Mapping[str, tuple[Readable, ...]] = {
    ".safetensors": ("safetensors",),
    ".json": ("index",),
    ".pt2": ("pt2",),
    ".bin": ("torch",),
    ".ckpt": ("torch",),
    ".pt": ("torch", "pt2"),
    ".pth": ("torch",),
    ".th": ("torch",),
}
"""What a suffix promises."""
_MOST_EXPANDED = 1 << 24
"""Elements of a tensor that repeats stored values."""
_TITLES: Mapping[Readable, str] = {
    "safetensors": "a safetensors file",
    "index": "an index of files",
    "torch": "a file of torch.save",
    "pt2": "a file of torch.export",
}


def read_state_dict(path: Path, where: str = "", sha256: str | None = None) -> dict[str, Tensor]:
    """All tensors of a checkpoint, by the way to them in it.

    Read are safetensors files, what torch.save and torch.export.save write, and the index of a
    checkpoint in several files; which it is, its content says and not its suffix. Nothing is
    unpickled but tensors and plain containers.

    Args:
        path: the file.
        where: names it in errors; its path unless given.
        sha256: of the file, where it is known.

    Returns:
        Names -> tensors on the CPU. A tensor in a mapping in the checkpoint has both names, with a
        dot between: `state_dict.model.conv1.weight`. The state of optimizers is left out.

    Raises:
        SourceError: missing, another file than the hash is of, truncated, another kind of file, or
            without tensors.
    """
    where = where or str(path)
    if path.is_dir():
        raise SourceError(f"{where}: expected a checkpoint, got a folder; give the file in it.")
    if not path.is_file():
        raise SourceError(f"{where}: no such checkpoint file; give an existing .safetensors, .pt or .pth file.")
    _refuse_alone(path, where)
    if sha256 is not None:
        _check_sha256(path, where, sha256)
    return _read_any(path, where)


def _read_any(path: Path, where: str) -> dict[str, Tensor]:
    kind = kind_of(path, where)
    if kind not in _WRITTEN_AS.get(path.suffix, (kind,)):
        logger.info("%s: %s by its content, and read as one.", where, _TITLES[kind])
    try:
        content = _read_index(path, where) if kind == "index" else _read(kind, path)
        tensors = dict(_tensors(content, ""))
    except pickle.UnpicklingError as e:
        raise _executes(where, path=path) from e
    except SourceError:
        raise
    except Exception as e:  # readers of other libraries, given a file that was made to break them
        raise SourceError(f"{where}: expected a checkpoint, got a damaged or truncated file ({words(e)}).") from e
    if kind == "torch":
        _doubt_runs(path, where)
    if not tensors:
        raise _without_tensors(content, where, path)
    return tensors


def files_of_checkpoint(path: Path) -> list[Path]:
    """The file, and those that it is an index of.

    Raises:
        SourceError: as `read_state_dict`, for an index that is damaged.
    """
    if not path.is_file() or path.suffix != ".json":
        return [path]
    return [path, *(path.parent / name for name in sorted(set(_weight_map(path, str(path)).values())))]


def _check_sha256(path: Path, where: str, sha256: str) -> None:
    if kind_of(path, where) == "index":
        raise SourceError(f"{where}: names several files, which have no one hash; leave sha256 out, or join the files.")
    found = sha256_file(path)
    if found != sha256.lower():
        raise SourceError(
            f"{where}: expected the file with sha256 {sha256.lower()}, got {found}; it is another file or was altered:"
            " get it again, or correct the hash."
        )


def _refuse_alone(path: Path, where: str) -> None:
    """Raise a SourceError for one of several files of weights whose index is beside it."""
    shared = path.with_name(f"{_SHARD.sub('', path.stem)}{path.suffix}.index.json")
    if _SHARD.search(path.stem) and shared.is_file():
        raise SourceError(f"{where}: one of several files of weights; give {shared.name}, which names them all.")


def _read(kind: Readable, path: Path) -> Any:
    if kind == "safetensors":
        return load_file(path)
    if kind == "pt2":
        return pt2.load(path)
    with path.open("rb") as file:  # torch would judge a name by its suffix
        return unpickled.load(file)


def _read_index(path: Path, where: str) -> dict[str, Tensor]:
    """The tensors of the files that an index names."""
    names = _weight_map(path, where)
    shards = {}
    for shard in sorted(set(names.values())):
        file = _beside(path, shard)
        if not file.is_file():
            raise SourceError(f"{where}: names the file {shard}, which is not beside it; copy all its files.")
        if kind_of(file, f"{where} ({shard})") == "index":
            raise SourceError(f"{where}: names {shard}, which is an index too, expected a file of weights.")
        shards[shard] = _read_any(file, f"{where} ({shard})")
    for name, shard in names.items():
        if name not in shards[shard]:
            raise SourceError(f"{where}: expected '{name}' in {shard}, which lacks it; download its files again.")
    logger.info("%s: the weights are in %d files, which it names.", where, len(shards))
    return {name: shards[shard][name] for name, shard in names.items()}


def _beside(path: Path, name: str) -> Path:
    try:
        return beside(path, name)
    except DamagedFileError as e:
        raise SourceError(str(e)) from e


def _weight_map(path: Path, where: str) -> dict[str, str]:
    """Name of a tensor -> the file beside the index that holds it."""
    try:
        names: dict[str, str] = read_json(path)["weight_map"]
        outside = [f for f in names.values() if Path(f).is_absolute() or ".." in Path(f).parts]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as e:
        raise SourceError(f"{where}: expected an index (weight_map: names -> files), got {words(e)}.") from e
    if outside or not names:
        raise SourceError(f"{where}: expected an index of files beside it, got {outside[0] if outside else 'none'}.")
    return names


def _tensors(value: object, name: str, within: frozenset[int] = frozenset()) -> Iterator[tuple[str, Tensor]]:
    """Tensors anywhere in mappings and lists, by the way to them; what holds itself is not entered again."""
    if isinstance(value, Tensor):
        if value.layout == torch.strided and value.numel() > max(_MOST_EXPANDED, _stored(value)):
            raise ValueError(f"'{name}' of shape {tuple(value.shape)} with {_stored(value)} stored values")
        yield name, value.detach()
    elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        yield name, torch.from_numpy(value.copy())
    elif isinstance(value, (Mapping, list, tuple)) and id(value) not in within:
        for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            if not _OF_TRAINING.match(str(key)) or isinstance(part, Tensor):
                yield from _tensors(part, f"{name}.{key}" if name else str(key), within | {id(value)})


def _stored(tensor: Tensor) -> int:
    """Values that a tensor has in memory; fewer than its elements where it repeats them."""
    return tensor.untyped_storage().nbytes() // max(1, tensor.element_size())


def _would_run(path: Path) -> str | None:
    """What loading a pickle as Python does would run; None: nothing that is known to be bad, or it is no pickle."""
    try:
        with path.open("rb") as file:
            return examine(file).would_run
    except (OSError, ValueError):
        return None


def _doubt_runs(path: Path, where: str) -> None:
    """Warn of what a checkpoint would run where others load it: whoever made it meant to."""
    if found := _would_run(path):
        warnings.warn(
            SuspectResultWarning(
                f"{where}: holds an instruction to run {found}, which was not done; do not load it with pickle, and ask"
                " where it comes from"
            ),
            stacklevel=3,
        )


def _executes(where: str, what: str = "", path: Path | None = None) -> SourceError:
    found = None if path is None else _would_run(path)
    does = "loading it would execute code" if found is None else f"loading it would run {found}"
    return SourceError(
        f"{where}: refused, it is not a plain state dict{what} ({does}); save `model.state_dict()` instead."
    )


def _without_tensors(content: Any, where: str, path: Path) -> SourceError:
    """The error for a checkpoint without tensors: of a pickled network, or of something else."""
    parts = [content, *(content.values() if isinstance(content, Mapping) else ())]
    if networks := [part for part in parts if unpickled.is_network(part)]:
        return _executes(where, f" but a whole network, pickled: {unpickled.class_of(networks[0])}", path)
    if any(unpickled.class_of(part) for part in parts):
        return _executes(where, path=path)
    return SourceError(f"{where}: expected a state dict (names -> tensors), got {type(content).__name__}.")
