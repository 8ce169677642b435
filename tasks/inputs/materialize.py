"""A re-engineered network built from what is kept of it.

The source all problems share, and one problem's mask, head and normalisation layers.
"""

from __future__ import annotations

from pathlib import Path

from seam.errors import ConfigError
from seam.files import sha256_file
from seam.inference.export import export_onnx
from seam.networks.state_dicts import save_weights
from tasks.inputs.problem import load_model, problem_source
from tasks.project.advice import advising
from tasks.project.params import Params
from tasks.project.stage import StageContext
from tasks.project.stages import PROBLEM
from tasks.project.subject import Subject, check

PIECES = ("mask.safetensors", "head.safetensors", "norms.safetensors")
"""Of artifacts/<problem>/search/: all that is a problem's own."""


def materialize(root: Path, params: Params, problem: str, path: Path) -> str:
    """Write the re-engineered network of a problem, the same bytes every time; nothing is trained or searched.

    Args:
        root: the project, with the results of prepare_source and of the problem's search.
        params: of the project.
        problem: its name.
        path: of the file: .safetensors (masked weights and head), or .onnx (`input` to `logits`).

    Returns:
        One line: what was written, and of what.

    Raises:
        ConfigError: no such problem, another kind of file, or pieces that are not there.
        SourceError: the source is damaged or altered.
        MaskError: the mask is damaged or was found for another source.
    """
    subject = Subject(PROBLEM.name, problem)
    check(params, subject)
    if path.suffix not in (".safetensors", ".onnx"):
        raise ConfigError(f"{path}: expected a file name that ends in .safetensors or .onnx, got '{path.suffix}'.")
    context = StageContext("search", params, root, subject)
    needed = [
        context.artifact("prepare_source", "source.safetensors"),
        *(context.artifact("search", name) for name in PIECES),
    ]
    missing = [str(p.relative_to(root)) for p in needed if not p.is_file()]
    if missing:
        raise ConfigError(
            f"{problem}: {', '.join(missing)} not there; `dvc pull prepare_source {context.run.address}`, or"
            f" `seam run --problem {problem}`."
        )
    with advising(context.run):
        model = load_model(context, "reengineered")
        if path.suffix == ".onnx":
            export_onnx(model, problem_source(context).example(), path)
        else:
            save_weights(model, path)
    source, own = needed[0].stat().st_size, sum(p.stat().st_size for p in needed[1:])
    return (
        f"wrote {path} (sha256 {sha256_file(path)[:12]}) from the source of {source:,} bytes, which all problems share,"
        f" and {own:,} bytes of {problem}'s own"
    )
