"""What is taken of pictures, folders of them and requests, and what becomes of the rest; tests try every row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from seam.data.doubts import MOST_ENLARGED
from seam.data.formats.image_folder import VAL_FOLDERS
from seam.data.pictures import MOST_PIXELS
from tasks.report.markdown import table
from tasks.serving.asked import Limits

Outcome = Literal["read", "read, with a doubt", "skipped", "refused"]
"""A doubt is named on the card, in `validation.json` and in the log; the log counts what is skipped; a refusal is one
line."""
_MOST = Limits()
_VAL = " or ".join(f"`{name}/`" for name in VAL_FOLDERS)


@dataclass(frozen=True)
class Taken:
    """One thing that people bring."""

    what: str
    outcome: Outcome
    how: str = ""


PICTURES: Sequence[Taken] = (
    Taken("PNG, JPEG, GIF, WebP, BMP, TIFF, and what else Pillow reads by itself", "read"),
    Taken("black and white (1 bit), grey, grey with transparency", "read", "one channel; three among colours"),
    Taken("palettes, CMYK, Lab, RGB with transparency", "read", "as RGB"),
    Taken("colours of 16 bits a sample", "read", "their upper 8 bits, as by torchvision's loader"),
    Taken("grey of 16 or 32 bits, floats", "refused", "convert them: `mogrify -depth 8`"),
    Taken("transparent pixels", "read, with a doubt", "as opaque ones of the colour beneath"),
    Taken("animations, files of several pages", "read, with a doubt", "the first picture"),
    Taken("an EXIF orientation", "read, with a doubt", "as the pixels lie, as by torchvision's and timm's loaders"),
    Taken("an EXIF orientation, and `data.exif: apply`", "read", "turned upright; column `exif` of the manifest"),
    Taken(
        f"an image that `data.image_size` enlarges {MOST_ENLARGED} times, or crops to a {MOST_ENLARGED}th",
        "read, with a doubt",
    ),
    Taken("a damaged or cut file, an empty one, another file of an image's name", "refused", "each is named"),
    Taken(f"more than {MOST_PIXELS:,} pixels", "refused"),
    Taken("a link out of the folder", "refused", "unless `data.follow_links`, or to DVC's cache"),
    Taken("a broken link, a link to itself, a pipe, a device", "refused"),
)
FOLDERS: Sequence[Taken] = (
    Taken("hidden files, `.DS_Store`, `._*`", "read", "as if they were not there"),
    Taken("`Thumbs.db`, `desktop.ini`, `__MACOSX/`, `@eaDir/`, `__pycache__/`", "skipped"),
    Taken("files without an image's suffix", "skipped"),
    Taken("other folders beside `train/` and `test/`", "skipped"),
    Taken(f"{_VAL} beside `train/` and `test/`", "read", "as val; two of them are refused"),
    Taken("`val/` in place of `test/`", "refused", "rename it, or make both"),
    Taken("`train/` a folder further down, or called otherwise", "refused", "says what is there"),
    Taken("folders in a class", "refused", "move their images up"),
    Taken("a file in place of a folder", "refused"),
    Taken("classes of train that test has not, or the other way round", "refused"),
    Taken("classes whose names differ in capitals, spaces or accents in train and test", "refused", "rename one"),
    Taken("two classes of names that differ so", "read, with a doubt"),
    Taken("one picture in two classes of a split", "read, with a doubt", "names both files"),
    Taken("names that are no UTF-8, or have line breaks", "refused"),
    Taken("what may not be read", "refused"),
)
REQUESTS: Sequence[tuple[int, str]] = (
    (
        200,
        'JSON `{"inputs": [...]}` or `{"instances": [...]}`: whole numbers from 0 to 255, (n, height, width, channels)',
    ),
    (200, "a PNG or JPEG picture as the body; several in a form, whatever their fields are called"),
    (200, "a grey picture where the model takes colours; an EXIF orientation, treated as in training"),
    (400, "fractions, numbers below 0 or above 255, NaN, booleans, words, nulls, objects"),
    (400, "another size or number of channels, lists of different lengths, no image"),
    (400, "brackets more than 8 deep, no JSON, other keys, a byte order mark, other encodings than UTF-8"),
    (400, "grey of 16 bits, animations, damaged pictures, other formats in a picture's name"),
    (400, "a form with other fields beside files, or without its end"),
    (
        413,
        f"more than {Limits().images:,} images or {Limits().body_bytes / 1e6:g} MB (`--max-images`, `--max-megabytes`)",
    ),
    (415, "other types of content, packed content (`Content-Encoding: gzip`)"),
)


def pictures_and_folders() -> str:
    """What becomes of pictures and folders of them."""
    return table(("what", "is", "how"), _rows())


def _rows() -> Iterator[Sequence[str]]:
    for taken in (*PICTURES, *FOLDERS):
        yield taken.what, taken.outcome, taken.how


def requests() -> str:
    """What the server answers."""
    return table(("status", "request"), [(str(status), what) for status, what in REQUESTS])
