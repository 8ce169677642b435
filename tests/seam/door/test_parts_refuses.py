"""What cannot be taken apart, put together or mended is one line, and nothing is written."""

from __future__ import annotations

from typing import Any

import pytest

import seam
from seam.composition.module import Takes
from seam.door.parts import Modules
from seam.errors import DataError, SeamError, SourceError
from tests.seam.door.stripes import CLASSES, floats, pixels, trained
from tests.seam.door.test_parts import NAMED, modules, others

X, Y = floats(32, 0)
COMPOSE: dict[str, tuple[type[SeamError], str, dict[str, Any]]] = {
    "a class that is not there": (DataError, "got 'boat'", {"classes": ["boat", "hat"]}),
    "a class twice": (DataError, "named once", {"classes": ["hat", "hat"]}),
    "one class": (DataError, "expected two classes or more", {"classes": ["hat"]}),
    "no modules": (DataError, "got nothing", {"modules": []}),
    "two sources and no images": (DataError, "2 sources have a module for 'boot'.*give train", {"two": True}),
    "two sources of one name": (DataError, "different names", {"twice": True}),
    "uint8 images": (DataError, "expected float images", {"two": True, "train": pixels(32, 0)}),
    "other images": (DataError, r"expected images of shape \(3, 16, 16\)", {"two": True, "train": (X[..., :8], Y)}),
    "no image of a class": (DataError, "none of: shoe", {"two": True, "train": (X[Y < 3], Y[Y < 3])}),
    "labels out of range": (DataError, r"expected labels in 0\.\.3, got", {"two": True, "train": (X, Y + 1)}),
    "another size": (
        DataError,
        r"expected images of shape \(3, 16, 16\), .* got \(3, 24, 24\)",
        {"shape": (3, 24, 24)},
    ),
    "another normalisation": (DataError, "expected images normalised as for the others", {"scale": (0.01,) * 3}),
}


@pytest.mark.parametrize("name", COMPOSE)
def test_what_cannot_be_composed_is_one_line(name: str) -> None:
    kind, words, given = COMPOSE[name]
    given = dict(given)
    sources: Any = given.pop("modules", [modules()])
    if given.pop("two", False):
        sources = [modules(), others()]
    if given.pop("twice", False):
        sources = [others(), others()]
    if "shape" in given or "scale" in given:
        takes = Takes(given.pop("shape", (3, 16, 16)), given.get("scale"), given.pop("scale", None))
        found = others()
        sources = [modules(), Modules(found.source, found.pieces, takes, found.groups, {}, 4, "wide")]
    with pytest.raises(kind, match=words) as caught:
        seam.compose(sources, **given)
    assert "\n" not in str(caught.value)


MODULARIZE: dict[str, tuple[type[SeamError], str, dict[str, Any]]] = {
    "a method of a transfer": (SeamError, "expected a method, one of gradsplitter", {"method": "remos"}),
    "no image of a class": (
        DataError,
        "train: expected images of every class, none of: shoe",
        {"train": (X[Y < 3], Y[Y < 3])},
    ),
    "other labels": (DataError, r"expected labels in 0\.\.3", {"train": (X, Y + 2)}),
    "other images": (SourceError, "takes images of 2 channels, got one of 3", {"train": (X[:, :2], Y), "val": None}),
    "another number of names": (DataError, "class_names: expected 4", {"class_names": ["a"]}),
}


@pytest.mark.parametrize("name", MODULARIZE)
def test_what_cannot_be_taken_apart_is_one_line(name: str) -> None:
    kind, words, given = MODULARIZE[name]
    with pytest.raises(kind, match=words) as caught:
        seam.modularize(trained(), **{"train": (X, Y), "val": floats(24, 1), **NAMED, **given})
    assert "\n" not in str(caught.value)


def test_what_cannot_be_patched_is_one_line() -> None:
    part, images = modules()["coat"], {"val": floats(24, 1), "class_names": CLASSES}
    with pytest.raises(DataError, match=r"expected a class of the model .* got 'boat'"):
        seam.patch(trained(), part, (X, Y), of="boat", **images)
    with pytest.raises(DataError, match="expected float images"):
        seam.patch(trained(), part, pixels(32, 0), val=pixels(24, 1), class_names=CLASSES)
    with pytest.raises(DataError, match=r"expected images of shape \(3, 16, 16\)"):
        seam.patch(trained(), part, (X[..., :8], Y), val=(X[..., :8], Y), class_names=CLASSES)
