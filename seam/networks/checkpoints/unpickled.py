"""What torch.save wrote, read by torch's own reader of weights: nothing is executed, foreign objects are left out.

Training code keeps more in a checkpoint than tensors: its arguments, paths, figures of NumPy, settings of a
framework. Each name of such a class or function stands here for a placeholder that does nothing.
"""

from __future__ import annotations

import io
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from seam.files import check_archive, check_sums
from seam.networks.checkpoints.pickled import File, examine

_MOST_RATIO = 8
"""torch.save and torch.export.save do not compress."""
CLASS = "pickled class"
"""Attribute of what stands for an object: the name of its class."""


def load(file: File) -> Any:
    """The content of a file of torch.save, opened to be read from its start, on the CPU.

    Returns:
        Tensors, containers and plain values; an OrderedDict with the attribute `CLASS` for every
        object of another class, made without its code.

    Raises:
        pickle.UnpicklingError: not to be read without executing code.
        Exception: damaged; torch's reader raises of all kinds.
    """
    _check_sizes(file)
    with safe_globals([*_numpy_globals(), *((_placeholder(name), name) for name in _foreign(file))]):
        return torch.load(file, map_location="cpu", weights_only=True)


def _check_sizes(file: File) -> None:
    """Raise a ValueError where tensors are said to have more bytes than the file has; torch would believe it."""
    said = {storage.key: storage.nbytes for storage in examine(file).storages}
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            check_archive(archive, "it", _MOST_RATIO)
            check_sums(archive)  # torch does not look at them
            there = {e.filename.rpartition("/data/")[2]: e.file_size for e in archive.infolist()}
        short = [key for key, nbytes in said.items() if nbytes > there.get(key, 0)]
    else:
        short = [key for key in said if sum(said.values()) > file.seek(0, io.SEEK_END)][:1]
    file.seek(0)
    if short:
        raise ValueError(f"tensors of {sum(said.values()):,} bytes, of which there are fewer")


def class_of(value: object) -> str | None:
    """The class of an object that was left out; None for what was read."""
    name: str | None = getattr(value, CLASS, None)
    return name


def is_network(value: object) -> bool:
    """Whether what was left out is a torch.nn.Module, pickled whole."""
    return class_of(value) is not None and {"_modules", "_parameters"} <= vars(value).keys()


def _foreign(file: File) -> list[str]:
    """Names of classes and functions in it that torch does not know; none for files of old versions of torch."""
    known = {name for _, name in _numpy_globals()}
    try:
        return [name for name in get_unsafe_globals_in_checkpoint(file) if name not in known]
    except Exception:  # whatever is wrong with it, reading it says so
        return []
    finally:
        file.seek(0)


def _placeholder(name: str) -> type:
    """A class whose objects are empty containers, which is all that torch's reader fills without asking their class."""

    def __new__(cls: type, *args: object, **kwargs: object) -> OrderedDict[str, object]:  # noqa: N807 - called by torch
        made = OrderedDict[str, object]()
        setattr(made, CLASS, name)
        return made

    return type("Placeholder", (), {"__new__": __new__})


def _numpy_globals() -> list[tuple[Any, str]]:
    """What NumPy's numbers and arrays are made of, under the names of all its versions; none of it runs code."""
    functions: list[Any] = [np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]]
    kinds: set[Any] = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdSU"}
    return [
        *((f, f"numpy.{core}.multiarray.{f.__name__}") for f in functions for core in ("core", "_core")),
        *((kind, f"{kind.__module__}.{kind.__name__}") for kind in {np.ndarray, np.dtype, *kinds}),
    ]
