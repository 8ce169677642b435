"""Record the machine and the versions that results depend on.

Results brought from another kind of machine are computed anew.
"""

from __future__ import annotations

from importlib.metadata import version

from seam.files import write_json
from seam.hardware import describe
from tasks.project.stage import StageContext, StageResult, main

_VERSIONS = ("torch", "torchvision", "numpy", "onnxruntime", "openvino", "advertorch", "fvcore")


def describe_machine(context: StageContext) -> StageResult:
    """Write machine.json; it is never taken from a cache, so a fresh clone describes its own machine."""
    machine = {**describe(), "versions": {name: version(name) for name in _VERSIONS}}
    with context.publish() as out:
        write_json(out / "machine.json", machine)
    return context.result({"cpu": machine["cpu"], "cores": machine["cores"], "gpu": machine["gpu"] or "none"})


if __name__ == "__main__":
    main(describe_machine, __doc__)
