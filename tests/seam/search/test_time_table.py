"""Time tables: files of them, refusals, and the measuring; never what a time is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from seam.configs.inference import ProfileConfig
from seam.errors import ExportError, SearchError
from seam.masks.groups import channel_groups
from seam.masks.widths import units_of
from seam.search.profile import Narrowed, _layouts, _number, time_layouts
from seam.search.time_table import load_times, save_times
from tests.seam.masks.block import IMAGES, seeded_block
from tests.seam.search.planted import planted

TABLE = planted(({"stem": 2, "inner": 6}, 7.5), ({"stem": 4, "inner": 0}, 7.0))


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    save_times(TABLE, tmp_path / "times.json")
    assert load_times(tmp_path / "times.json", "a" * 64) == TABLE


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "FileNotFoundError"),
        ("{", "expected JSON"),
        ("[]", "expected a time table"),
        ("{}", "KeyError: 'measured'"),
        ('{"measured": true, "engine": "torch"}', "expected 'timed'"),
        ('{"measured": false}', "got one not measured"),
        ({"latency_ms_p50": 0}, "ValueError: times that are not above 0"),
        ({"timed": [{"layout": [1], "ratio": 0.5, "run": 0}]}, "AttributeError"),
        ({"timed": [{"layout": {"stem": 2}, "ratio": -0.5, "run": 0}]}, "ValueError: times that are not above 0"),
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


def test_layouts_are_timed_against_the_whole(tmp_path: Path) -> None:
    said: list[float] = []
    config = ProfileConfig(batch_size=2, repeats=10, seconds=0.1)
    table = time_layouts(_narrowed(tmp_path), config, "a" * 64, watch=lambda share, text: said.append(share))
    assert [t.run for t in table.timed] == [0] * 12  # three for each width below all
    assert table.timed[0].layout == {"stem": 2, "inner": 0}
    assert table.latency_ms_p50 > 0 and said == [0.0, 1.0]
    assert (table.engine, table.batch_size, table.source_sha256) == ("onnxruntime", 2, "a" * 64)


def test_the_networks_timed_are_really_smaller(tmp_path: Path) -> None:
    narrowed = _narrowed(tmp_path)
    module = narrowed.variant("small", {"stem": 2, "inner": 4}).module
    assert (module.stem.out_channels, module.inner.out_channels) == (4, 6)  # blocks of 8 are kept whole
    gone = narrowed.variant("gone", {"inner": 0}).module
    assert not hasattr(gone, "inner")


def test_as_many_layouts_as_there_is_time_for() -> None:
    """Of 0.1 s to make, and 19 calls of 0.04 s at seven twelfths, each."""
    units = [replace(unit, widths=tuple(range(31))) for unit in _narrowed(Path()).units]
    assert _number(units, ProfileConfig(seconds=60.0), 0.1, 0.04) == int(60 / (0.1 + 19 * 0.04 * 7 / 12))
    assert _number(units, ProfileConfig(seconds=1.0), 1.0, 1.0) == 16
    assert _number(units, ProfileConfig(seconds=1e4), 0.1, 0.04) == 180


def test_every_width_is_in_some_layout_and_the_same_seed_draws_the_same() -> None:
    units = _narrowed(Path()).units
    layouts = _layouts(units, 24, 0)
    assert layouts == _layouts(units, 24, 0) != _layouts(units, 24, 1)
    for unit in units:
        assert {layout[unit.name] for layout in layouts} == set(unit.widths)


def test_an_engine_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no\nsuch thing")

    monkeypatch.setattr("seam.search.profile.measure", fails)
    with pytest.raises(ExportError, match="onnxruntime: expected an engine that runs the network, got ValueError: no"):
        time_layouts(_narrowed(tmp_path), ProfileConfig(batch_size=2, repeats=10))
