"""Images that lie elsewhere than in the folder of their data set: behind links, or behind `..` in one of its lists."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from seam.data.formats.listing import Listing
from seam.errors import DataError

_OF_DVC = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")
"""Files in DVC's cache, which it may show by links; they are called by their content."""


def check_inside(listing: Listing, root: Path) -> None:
    """Raise a DataError where images lie outside of the folder of their data set.

    Args:
        listing: of the images; none is opened.
        root: the folder.
    """
    home = root.resolve()

    @cache
    def real(folder: Path) -> Path:
        return folder.resolve()

    def is_inside(file: Path) -> bool:
        try:
            found = file.resolve() if file.is_symlink() else real(file.parent) / file.name
        except (OSError, RuntimeError):  # links in a circle lead nowhere: no image, which is said when it is opened
            return True
        return found.is_relative_to(home) or _OF_DVC.search(found.as_posix()) is not None

    outside = [image.file for image in listing.images if not is_inside(image.file)]
    if outside:
        first = outside[0]
        raise DataError(
            f"{root}: {len(outside)} of {len(listing.images)} images lead out of it, {first.relative_to(root)} to"
            f" {first.resolve()}",
            hint="links",
        )
