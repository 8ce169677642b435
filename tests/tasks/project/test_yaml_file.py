"""YAML that people give: read within limits, whatever is wrong with it said in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from flows.sweeps.plan import read_plan
from seam.errors import ConfigError
from tasks.project.params import load_params
from tasks.project.yaml_file import read_yaml
from tasks.tracking.policy import load_policy
from tests.defaults import POLICY

LAUGH = "a: &a [" + ", ".join(["ha"] * 9) + "]\n"
for last, name in zip("abcdefgh", "bcdefghi", strict=True):
    LAUGH += f"{name}: &{name} [" + ", ".join([f"*{last}"] * 9) + "]\n"
BAD: dict[str, tuple[bytes, str]] = {
    "not UTF-8": (b"alias: \xff\xfe", "'utf-8' codec can't decode"),
    "no YAML": (b"alias: [", "while parsing"),
    "a tab": (b"\talias: 1", "found character"),
    "deep": (b"? " * 20_000, "recursion"),
    "aliases within aliases": (LAUGH.encode(), "aliases within aliases"),
    "a long one": (b"# " + b"x" * (1 << 24), "bytes, at most 16,777,216 are read"),
}


@pytest.mark.parametrize("read", [read_yaml, load_policy, load_params, lambda path: read_plan(path, {})])
@pytest.mark.parametrize("name", BAD)
def test_bad_yaml_is_one_line(name: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    content, words = BAD[name]
    (tmp_path / "x.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"x\.yaml: expected YAML, got .*{words}") as caught:
        read(tmp_path / "x.yaml")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_list_that_holds_itself_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("alias: &a [*a]")
    with pytest.raises(ConfigError, match="aliases within aliases"):
        read_yaml(tmp_path / "x.yaml")


def test_a_damaged_policy_is_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(POLICY.encode())
        at = int(rng.integers(len(damaged)))
        damaged[at : at + 3] = rng.integers(0, 256, 3, dtype=np.uint8).tobytes()
        (tmp_path / "registry.yaml").write_bytes(damaged)
        said = ""
        try:
            load_policy(tmp_path / "registry.yaml")
        except ConfigError as e:
            said = str(e)
        assert "\n" not in said
