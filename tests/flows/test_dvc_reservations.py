"""A process that is killed while DVC writes its list of reservations leaves nothing that stops the next run."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from flows.dvc_reservations import drop_half_written
from flows.stage_cache import StageCache
from tasks.project.subject import PIPELINE, Address

DIGEST = Address(PIPELINE, "digest_code")
HELD = {"write": {"/somewhere/out": {"pid": 1, "cmd": "dvc repro"}}, "read": {}}


@pytest.mark.parametrize("left", [b"", b'{"write": {"/a', b"[]", b'{"write": {"/a": 1}}', b"\xff"])
def test_a_stage_is_reserved_whatever_was_left(left: bytes, project: Path) -> None:
    (project / ".dvc/tmp").mkdir(exist_ok=True)
    (project / ".dvc/tmp/rwlock").write_bytes(left)
    cache = StageCache(project)
    assert cache.is_current(DIGEST)
    cache.close()
    cache = StageCache(project)
    ran: list[int] = []
    address = Address(PIPELINE, "validate_data")
    with pytest.raises(Exception, match="output"):  # the body makes nothing
        cache.run(address, lambda: ran.append(1))
    cache.close()
    assert ran == [1] and json.loads((project / ".dvc/tmp/rwlock").read_bytes()) is not None


def test_a_whole_list_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    drop_half_written(tmp_path)
    path = tmp_path / "rwlock"
    path.write_text(json.dumps(HELD))
    drop_half_written(tmp_path)
    assert json.loads(path.read_text()) == HELD and not caplog.records


def test_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "rwlock").write_text("{")
    with caplog.at_level(logging.WARNING, "flows"):
        drop_half_written(tmp_path)
    assert not (tmp_path / "rwlock").exists() and "left half-written" in caplog.text
