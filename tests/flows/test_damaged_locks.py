"""A dvc.lock that is not as DVC writes it is one line, which names it and says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.stage_cache import StageCache
from seam.errors import CacheError
from tasks.project.subject import PIPELINE, Address

GOOD = "schema: '2.0'\nstages:\n  validate_data:\n    cmd: python -m tasks.validate_data\n"
DAMAGED = {
    "no UTF-8": GOOD.encode() + b"    deps: \xff\n",
    "a word for a list": GOOD.encode() + b"    deps: none\n",
    "nothing for a list": GOOD.encode() + b"    outs:\n",
    "words in a list": GOOD.encode() + b"    deps:\n    - data\n",
    "a list of entries without a path": GOOD.encode() + b"    outs:\n    - md5: abc\n",
    "a list for a stage": b"schema: '2.0'\nstages:\n  validate_data:\n  - cmd\n",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_it_is_one_line(name: str, project: Path) -> None:
    lock = project / "dvc.lock"
    lock.write_bytes(DAMAGED[name])
    cache = StageCache(project)
    with pytest.raises(CacheError) as caught:
        cache.staleness(Address(PIPELINE, "validate_data"))
    cache.close()
    said = str(caught.value)
    assert said.startswith(f"{lock}: expected what DVC records, got") and "\n" not in said
    assert "restore it from version control, or remove it" in said
    assert lock.read_bytes() == DAMAGED[name]


def test_a_good_one_is_read(project: Path) -> None:
    (project / "dvc.lock").write_text(GOOD)
    cache = StageCache(project)
    assert cache.staleness(Address(PIPELINE, "validate_data"))
    cache.close()
