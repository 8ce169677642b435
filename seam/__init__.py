"""Take a trained network and make of it what is really needed.

    import seam

    small = seam.reengineer(network, train, classes=["boot", "sandal"], val=val)  # .network .masks .head .report
    student = seam.transfer(network, train, val=val, method="seam")
    ranked = seam.select({"a": network, "b": other}, train)  # which to reuse, before anything is trained: .best
    flatter = seam.restructure(network, train, val=val)  # fewer blocks: .network .removed .report
    exact = seam.compact(network, masks, example)
    seam.export(small, "boots.onnx")

    modules = seam.modularize(network, train, val=val)             # a module a class: modules["boot"]
    three = seam.compose(modules, classes=["boot", "hat", "sandal"])
    mended = seam.patch(weak, modules["boot"], train, val=val)

`train` and `val` are a folder of images, a torch Dataset or DataLoader, or arrays. The given network
is never changed. docs/library.md has an example that runs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seam.door.compose import compose
    from seam.door.exact import compact, export
    from seam.door.modularize import modularize
    from seam.door.parts import load_modules
    from seam.door.patch import patch
    from seam.door.reengineer import reengineer
    from seam.door.restructure import restructure
    from seam.door.select import select
    from seam.door.transfer import transfer

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "compact",
    "compose",
    "export",
    "load_modules",
    "modularize",
    "patch",
    "reengineer",
    "restructure",
    "select",
    "transfer",
]
_LIES_IN = {
    "compact": ".door.exact",
    "compose": ".door.compose",
    "export": ".door.exact",
    "load_modules": ".door.parts",
    "modularize": ".door.modularize",
    "patch": ".door.patch",
    "reengineer": ".door.reengineer",
    "restructure": ".door.restructure",
    "select": ".door.select",
    "transfer": ".door.transfer",
}
"""Name -> its module, which is imported by the first who asks for it."""


def __getattr__(name: str) -> Any:
    if name not in _LIES_IN:
        raise AttributeError(f"module 'seam' has no attribute '{name}'")
    return getattr(import_module(_LIES_IN[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LIES_IN})
