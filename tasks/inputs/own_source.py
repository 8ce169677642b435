"""A source of a subject's own, beside the one that the problems share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from seam.data.prepared import load_prepared
from seam.errors import SourceError
from seam.networks.source import Source, load_source, save_source
from tasks.inputs.made_source import made_source
from tasks.project.source_changes import changed_source
from tasks.project.stage import StageContext


def own_source(
    context: StageContext, changes: Mapping[str, Any] | None, key: str, dataset: Path | None = None
) -> Source:
    """The prepared source, or one that is loaded or trained here because it differs.

    Args:
        context: of the stage that wants it, which may be killed: a training continues.
        changes: keys of `prepare_source` that differ; None or none: it is the prepared one.
        key: the parameter with the changes, for messages: `weak` of this subject's entry.
        dataset: dataset.safetensors of other images, for which a network is trained unless a checkpoint
            is named, normalised as the prepared source where nothing else is said, so that networks of
            both take the same images; None: the problems', `validate_data`.

    Raises:
        ConfigError: changes that do not go together.
        SourceError: see `tasks.inputs.made_source.made_source`.
    """
    if not changes and dataset is None:
        return load_source(context.folder("prepare_source"))
    where = f"{context.whole.row.section}.{context.name}.{key}"
    params = context.params
    if dataset is not None:
        changes = _of_other_images(context, changes or {}, dataset)
    wanted = replace(
        context,
        params=params.model_copy(update={"prepare_source": changed_source(params.prepare_source, changes, where)}),
    )
    folder = context.work_folder / key
    folder.mkdir(parents=True, exist_ok=True)
    images = dataset or context.artifact("validate_data", "dataset.safetensors")
    try:
        made = made_source(wanted, images, folder)
    except SourceError as e:
        said = e.what.replace("prepare_source.", f"{where}.")
        raise SourceError(said, hint=e.hint, path=e.path) from e
    save_source(made.network, made.info, folder)
    return load_source(folder)


def _of_other_images(context: StageContext, changes: Mapping[str, Any], dataset: Path) -> Mapping[str, Any]:
    """What differs for a network of other images."""
    changed = {"checkpoint": None, **changes}
    if changed["checkpoint"] is not None or {"mean", "std"} & changed.keys():
        return changed
    known = load_source(context.folder("prepare_source")).info
    if load_prepared(dataset).image_shape != known.image_shape:
        return changed
    mean, std = (values[:1] if len(set(values)) == 1 else values for values in (known.mean, known.std))
    return {**changed, "mean": list(mean), "std": list(std)}
