"""Modules that compositions and patches are made of, with the networks they were taken from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seam.checkpoint import fingerprint
from seam.composition.pack import CARD
from seam.door.parts import Modules, load_modules
from seam.errors import ConfigError, MaskError
from seam.files import read_json, sha256_file
from seam.networks.source import Source, load_source
from tasks.inputs.images import Images, images_in
from tasks.project.stage import StageContext
from tasks.project.subject import named_in, parts_of, stage_folder

PACK = "modules"
"""Folder of the pack, beside its source, in what the stage that takes a network apart publishes."""
_SHOWN = 20
"""Classes that a message names, of those that there are."""
_FILES = (f"{PACK}/{CARD}", "source.json", "source.safetensors")


@dataclass(frozen=True)
class Part:
    """The modules of one network."""

    name: str
    """As the entry names it."""
    source: Source
    modules: Modules
    files: Mapping[str, str]
    """Of modules that were made elsewhere: path, relative to the project where it is below it -> sha256."""
    hashes: Mapping[str, str]
    """pack_sha256, source_sha256; images_sha256 where it has a data set of its own."""
    images: Images | None
    """Of its own data set; None: it is of the project's."""

    def head_sha256(self, of: str) -> str:
        """Of the head of one class's module."""
        return fingerprint(self.modules.pieces[of].head.state_dict())

    @property
    def may_have_seen(self) -> bool:
        """Whether the source may have been trained on any of the images here."""
        return bool(self.files) or not self.source.info.trained_here


def parts(context: StageContext) -> tuple[Part, ...]:
    """All that the entry of this subject names under `of`, in its order.

    Raises:
        ConfigError: one is named twice, or is no folder with modules and their source.
        MaskError: damaged modules, or of another network than the one beside them.
        SourceError: a source that is missing or damaged.
    """
    names = named_in(context.params, context.whole)
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ConfigError(f"{_where(context)}: expected different names, got '{twice[0]}' twice; leave one out.")
    made_here = {
        s.name: stage_folder(context.root, s.row.reports, s) for s in parts_of(context.params, [context.whole])
    }
    return tuple(_part(context, name, made_here.get(name)) for name in names)


def require_classes(names: Iterable[str], known: Sequence[str], where: str, what: str) -> None:
    """Raise a ConfigError where one of these classes is not known.

    Args:
        names: of the classes.
        known: those that there are.
        where: the parameter that names them.
        what: is expected there, in words.
    """
    for name in names:
        if name not in known:
            shown = ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
            raise ConfigError(f"{where}: expected {what} ({shown}), got '{name}'.")


def _part(context: StageContext, name: str, made_here: Path | None) -> Part:
    folder = context.root / name if made_here is None else made_here
    missing = [file for file in _FILES if not (folder / file).is_file()]
    if missing and made_here is None:
        raise ConfigError(
            f"{_where(context)}: expected the folder of modules that were made elsewhere, with {', '.join(_FILES)}, got"
            f" '{name}' without {missing[0]}; copy all of the folder."
        )
    if missing:
        raise MaskError(f"{folder / missing[0]}: no such file", hint="rerun_producer", path=folder / missing[0])
    source = load_source(folder)
    modules = load_modules(folder / PACK, source.network).called(name)
    images = images_in(folder)
    read = [*(folder / f for f in _FILES), *([images.dataset] if images else [])]
    files = {} if made_here is not None else {_shown(context.root, f): sha256_file(f) for f in read}
    hashes = {"pack_sha256": read_json(folder / PACK / CARD)["sha256"], "source_sha256": source.info.sha256}
    hashes |= {"images_sha256": sha256_file(images.dataset)} if images else {}
    return Part(name, source, modules, files, hashes, images)


def _where(context: StageContext) -> str:
    return f"{context.whole.row.section}.{context.name}.of"


def _shown(root: Path, path: Path) -> str:
    top, whole = root.resolve(), path.resolve()
    return str(whole.relative_to(top) if whole.is_relative_to(top) else whole)
