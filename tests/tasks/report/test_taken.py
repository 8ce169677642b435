"""Every row of the tables of what is taken, tried."""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from seam.data.doubts import doubt_images
from seam.data.formats.image_folder import VAL_FOLDERS
from seam.data.formats.load import check_links, load_raw
from seam.errors import DataError, SuspectResultWarning
from tasks.report.taken import FOLDERS, PICTURES, REQUESTS
from tasks.serving.asked import Takes
from tests.seam.data.pictures import deep_png, noise, picture
from tests.seam.data.test_strange_folders import add, as_somebody, both, cut, file_at, link, move, open_to_all
from tests.tasks.serving.test_app import IMAGES, PART, Means, animated, client, file, inputs, sixteen_bits

Make = Callable[[Path], object]
SIDE = 32
PLACE = "train/cat/x"


def saved(suffix: str, mode: str = "RGB", **how: Any) -> Make:
    return lambda root: noise(5, SIDE, SIDE).convert(mode).save(root / f"{PLACE}.{suffix}", **how)


def image(pixels: np.ndarray, suffix: str = "png") -> Make:
    return lambda root: Image.fromarray(pixels).save(root / f"{PLACE}.{suffix}")


def at(name: str, make: Callable[[Path], object]) -> Make:
    return lambda root: make(root / name)


def noted() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif


def copied(root: Path) -> None:
    shutil.copy(root / "train/cat/0.png", root / "train/dog/x.png")


def outside(root: Path) -> None:
    (root / "train/cat/0.png").rename(root.parent / "x.png")
    (root / "train/cat/0.png").symlink_to(root.parent / "x.png")


RNG = np.random.default_rng(1)
SEVERAL: dict[str, Any] = {"save_all": True, "append_images": [noise(6, SIDE, SIDE)]}
GREY_PAIR = np.dstack([RNG.integers(0, 256, (SIDE, SIDE), np.uint8), np.full((SIDE, SIDE), 255, np.uint8)])
MADE: Mapping[str, list[Make]] = {
    "PNG, JPEG": [saved(suffix) for suffix in ("png", "jpg", "gif", "webp", "bmp", "tiff", "ppm", "tga")],
    "black and white": [saved("png", "1"), saved("png", "L"), image(GREY_PAIR)],
    "palettes": [saved("png", "P"), saved("jpg", "CMYK"), saved("tiff", "LAB"), saved("png", "RGBA")],
    "colours of 16": [at(f"{PLACE}.png", lambda path: deep_png(path, 2))],
    "grey of 16": [
        at(f"{PLACE}.png", lambda path: deep_png(path, 0)),
        *(image(np.ones((SIDE, SIDE), dtype), "tiff") for dtype in (np.int32, np.float32)),
    ],
    "transparent": [image(RNG.integers(0, 255, (SIDE, SIDE, 4), np.uint8))],
    "animations": [saved("gif", **SEVERAL), saved("tiff", **SEVERAL), saved("png", **SEVERAL)],
    "an EXIF orientation": [saved("jpg", exif=noted())],
    "an EXIF orientation, and": [saved("jpg", exif=noted())],
    "an image that": [
        at(f"{PLACE}.png", lambda path, size=size: picture(path, 5, *size)) for size in ((8, 8), (400, 40))
    ],
    "a damaged": [
        at(f"{PLACE}.jpg", lambda path: cut(path, 2)),
        at(f"{PLACE}.png", Path.touch),
        at(f"{PLACE}.png", lambda path: path.write_text("x")),
    ],
    "more than": [at(f"{PLACE}.png", lambda path: Image.new("1", (10_000, 8_950)).save(path))],
    "a link out": [outside],
    "a broken link": [link(f"{PLACE}.png", f"{PLACE}.png"), link(f"{PLACE}.png", "no"), at(f"{PLACE}.png", os.mkfifo)],
    "hidden files": [at(f"train/{name}", Path.touch) for name in (".DS_Store", "._0.png", "cat/.DS_Store")],
    "`Thumbs.db`": [
        at("train/Thumbs.db", Path.touch),
        at("test/cat/desktop.ini", Path.touch),
        *(at(f"train/{name}", Path.mkdir) for name in ("__MACOSX", "cat/@eaDir", "__pycache__")),
    ],
    "files without": [at("train/labels.csv", Path.touch), at("test/cat/0", Path.touch)],
    "other folders": [at("dev", Path.mkdir), at("Val", Path.mkdir)],
    "`val/` or": [add(f"{name}/cat/0.png", f"{name}/dog/0.png") for name in VAL_FOLDERS],
    "`val/` in place": [move("test", name) for name in VAL_FOLDERS],
    "`train/` a folder": [
        both(at("shop", Path.mkdir), move("train", "shop/train"), move("test", "shop/test")),
        move("train", "Train"),
    ],
    "folders in a class": [add("train/cat/more/0.png")],
    "a file in place": [file_at("train"), file_at("test"), file_at("test/cat")],
    "classes of train": [add("train/eel/0.png"), add("test/eel/0.png")],
    "classes whose": [move("test/cat", "test/Cat"), move("test/cat", "test/cat ")],
    "two classes": [add("train/Cat/0.png", "test/Cat/0.png")],
    "one picture": [copied],
    "names that": [
        move("test/cat/0.png", "test/cat/\udcff.png"),
        both(move("train/cat", "train/a\n"), move("test/cat", "test/a\n")),
    ],
    "what may": [at("test/dog", lambda path: path.chmod(0)), at("test/dog/0.png", lambda path: path.chmod(0))],
}


def made_for(what: str) -> list[Make]:
    """How to make it: of the longest beginning that fits."""
    return MADE[max((key for key in MADE if what.startswith(key)), key=len)]


def test_there_is_a_row_for_each_and_the_other_way_round() -> None:
    rows = [taken.what for taken in (*PICTURES, *FOLDERS)]
    assert len(rows) == len(set(rows)) == len(MADE)
    assert all(made_for(what) for what in rows)


def a_folder(root: Path) -> Path:
    for i, name in enumerate(("cat", "dog")):
        for j in range(2):
            picture(root / "train" / name / f"{j}.png", 10 * i + j, SIDE, SIDE)
        picture(root / "test" / name / "0.png", 100 + i, SIDE, SIDE)
    return root


def outcome(root: Path, exif: Any, resized: bool, caplog: pytest.LogCaptureFixture) -> str:
    """What becomes of a folder."""
    caplog.clear()
    with warnings.catch_warnings(record=True) as caught, caplog.at_level(logging.INFO, "seam"):
        warnings.simplefilter("always")
        try:
            check_links("image_folder", root)
            data = load_raw("image_folder", root, SIDE if resized else None, exif=exif)
        except DataError:
            return "refused"
        doubt_images(data, SIDE if resized else None)
    if any(found.pixels is None for found in data.images):
        return "refused"
    if any(isinstance(warning.message, SuspectResultWarning) for warning in caught):
        return "read, with a doubt"
    return "skipped" if caplog.records else "read"


@pytest.mark.parametrize("taken", [*PICTURES, *FOLDERS], ids=lambda taken: taken.what[:40])
def test_it_becomes_what_the_row_says(taken: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    is_locked = taken.what.startswith("what may")
    with open_to_all() if is_locked else nullcontext(tmp_path) as place:
        for number, make in enumerate(made_for(taken.what)):
            root = a_folder(place / str(number) / "pets")
            make(root)
            exif = "apply" if "`data.exif: apply`" in taken.what else "ignore"
            with as_somebody() if is_locked else nullcontext():
                found = outcome(root, exif, "data.image_size" in taken.what, caplog)
            assert found == taken.outcome, f"{number}: {caplog.text}"


def damaged() -> bytes:
    return file(np.zeros((4, 4, 1), np.uint8))[:-25]


def sent(body: bytes, kind: str = "application/json", channels: int = 1, **headers: str) -> int:
    limited = client(Means(), Takes(4, 4, channels), images=20, body_bytes=2_000_000)
    return int(limited.post("/invocations", content=body, headers={"Content-Type": kind, **headers}).status_code)


def as_exif() -> bytes:
    stream = BytesIO()
    noise(1, 4, 4).save(stream, "JPEG", exif=noted())
    return stream.getvalue()


PNG, FORM, WHOLE = "image/png", "multipart/form-data; boundary=b", np.ones((1, 4, 4, 1), int)
TEXT_FIELD = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n'
ASKED: Mapping[str, list[Callable[[], int]]] = {
    "JSON": [lambda: sent(inputs(IMAGES.tolist())), lambda: sent(inputs(IMAGES.tolist(), "instances"))],
    "a PNG": [lambda: sent(file(IMAGES[0]), PNG), lambda: sent(PART % file(IMAGES[0]) * 2 + b"--b--", FORM)],
    "a grey": [lambda: sent(file(IMAGES[0]), PNG, 3), lambda: sent(as_exif(), "image/jpeg", 3)],
    "fractions": [
        lambda value=value: sent(inputs((WHOLE * 1).tolist()).replace(b"1", value))
        for value in (b"0.5", b"-5", b"300", b"NaN", b"true", b'"1"', b"null", b'{"a": 1}')
    ],
    "another size": [
        lambda value=value: sent(inputs(value))
        for value in (np.ones((1, 5, 4, 1), int).tolist(), np.ones((1, 4, 4, 3), int).tolist(), [[1, 2], [3]], [])
    ],
    "brackets": [
        lambda body=body: sent(body)
        for body in (b"[" * 100_000, b"{{{", b'{"images": [1]}', b"\xef\xbb\xbf{}", "{}".encode("utf-16"))
    ],
    "grey of 16": [
        lambda make=make: sent(make(), PNG)
        for make in (sixteen_bits, animated, damaged, lambda: file(IMAGES[0], "GIF"))
    ],
    "a form": [
        lambda: sent(PART % file(IMAGES[0]) + TEXT_FIELD + b"--b--", FORM),
        lambda: sent(PART % file(IMAGES[0]), FORM),
        lambda: sent(PART % file(IMAGES[0]) + b"--b", FORM),
    ],
    "more than": [lambda: sent(inputs(np.ones((21, 4, 4, 1), int).tolist())), lambda: sent(b" " * 2_000_001)],
    "other types": [
        lambda: sent(b"a,b", "text/csv"),
        lambda: sent(file(IMAGES[0]), "application/octet-stream"),
        lambda: sent(inputs(IMAGES.tolist()), **{"Content-Encoding": "gzip"}),
    ],
}


@pytest.mark.parametrize(("status", "what"), REQUESTS, ids=lambda value: str(value)[:30])
def test_a_request_is_answered_as_the_row_says(status: int, what: str) -> None:
    assert len(ASKED) == len(REQUESTS)
    (key,) = (key for key in ASKED if what.startswith(key))
    assert [ask() for ask in ASKED[key]] == [status] * len(ASKED[key])
