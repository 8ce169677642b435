"""Time tables: files of them, refusals, and the measuring; never what a time is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seam.configs.inference import ProfileConfig
from seam.errors import ExportError, SearchError
from seam.masks.groups import channel_groups
from seam.masks.widths import units_of
from seam.search.profile import Narrowed, _filled, _plan, time_units
from seam.search.time_table import load_times, save_times
from tests.seam.masks.block import IMAGES, seeded_block
from tests.seam.search.planted import planted

TABLE = planted({"stem": {2: 2.5}, "inner": {0: 3.0, 2: 2.0}})


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    save_times(TABLE, tmp_path / "times.json")
    assert load_times(tmp_path / "times.json", "a" * 64) == TABLE


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "FileNotFoundError"),
        ("{", "JSONDecodeError"),
        ("[]", "expected a time table"),
        ("{}", "KeyError: 'measured'"),
        ('{"measured": true, "saved_ms": {}}', "KeyError: 'interpolated'"),
        ('{"measured": false}', "got one not measured"),
        ({"latency_ms_p50": 0}, "ValueError: latency_ms_p50"),
        ({"saved_ms": {"stem": [1]}}, "AttributeError"),
        ({"unknown": 1}, "TypeError"),
        ({"source_sha256": "b" * 64}, "expected times of the source aaaaaaaaaaaa, got those of bbbbbbbbbbbb"),
    ],
)
def test_what_is_no_table_of_this_source_is_refused(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "times.json"
    save_times(TABLE, path)
    if isinstance(content, dict):
        content = json.dumps(json.loads(path.read_text()) | content)
    path.unlink()
    if content is not None:
        path.write_text(str(content))
    with pytest.raises(SearchError, match=said) as caught:
        load_times(path, "a" * 64)
    assert "\n" not in str(caught.value) and caught.value.hint == "rerun_producer"


def _narrowed(folder: Path) -> Narrowed:
    network = seeded_block()
    groups = channel_groups(network, IMAGES)
    return Narrowed(network, IMAGES, groups, units_of(groups, 2), folder)


def test_every_width_below_all_is_measured(tmp_path: Path) -> None:
    said: list[float] = []
    config = ProfileConfig(batch_size=2, repeats=10)
    table = time_units(_narrowed(tmp_path), config, "a" * 64, watch=lambda share, text: said.append(share))
    assert {name: set(ms) for name, ms in table.saved_ms.items()} == {"stem": {2}, "inner": {0, 2, 4}}
    assert table.latency_ms_p50 > 0 and table.repeats == 10 and table.interpolated == {} and said
    assert (table.engine, table.batch_size, table.source_sha256) == ("onnxruntime", 2, "a" * 64)


def test_the_networks_timed_are_really_smaller(tmp_path: Path) -> None:
    narrowed = _narrowed(tmp_path)
    module = narrowed.variant("small", {"stem": 2, "inner": 4}).module
    assert (module.stem.out_channels, module.inner.out_channels) == (4, 6)  # blocks of 8 are kept whole
    gone = narrowed.variant("gone", {"inner": 0}).module
    assert not hasattr(gone, "inner")


def test_short_of_time_there_are_fewer_repeats_then_fewer_widths() -> None:
    units = _narrowed(Path()).units
    everything = {"stem": (2,), "inner": (0, 2, 4)}
    assert _plan(units, ProfileConfig(seconds=100.0), 0.1, 0.001) == (everything, 50)
    timed, repeats = _plan(units, ProfileConfig(seconds=10.0), 1.0, 0.05)
    assert timed == everything and 10 <= repeats < 50
    assert _plan(units, ProfileConfig(seconds=10.0), 1.0, 0.2) == ({"stem": (2,), "inner": (0, 2)}, 10)
    assert _plan(units, ProfileConfig(seconds=0.1), 1.0, 1.0) == ({"stem": (2,), "inner": (0, 2)}, 10)
    inner = units[1]
    assert _filled(inner, {0: 6.0, 4: 1.0}) == {0: 6.0, 2: 3.5, 4: 1.0}
    assert _filled(inner, {0: 6.0}) == pytest.approx({0: 6.0, 2: 4.0, 4: 2.0})


def test_an_engine_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no\nsuch thing")

    monkeypatch.setattr("seam.search.profile.measure", fails)
    with pytest.raises(ExportError, match="onnxruntime: expected an engine that runs the network, got ValueError: no"):
        time_units(_narrowed(tmp_path), ProfileConfig(batch_size=2, repeats=10))
