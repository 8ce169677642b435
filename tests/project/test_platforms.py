"""The pinned requirements of each platform are what its packages ask for there: no more, which may not exist, nor less.

Read from what the installed packages say of themselves; no index is asked.
"""

from __future__ import annotations

import platform
import re
import tomllib
from importlib import metadata

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from seam.inference.engines import ENGINES
from tests.defaults import ROOT

PLATFORMS = {
    "Linux on x86-64": {"platform_system": "Linux", "sys_platform": "linux", "platform_machine": "x86_64"},
    "Linux on ARM": {"platform_system": "Linux", "sys_platform": "linux", "platform_machine": "aarch64"},
    "macOS on ARM": {"platform_system": "Darwin", "sys_platform": "darwin", "platform_machine": "arm64"},
}
X86_ALONE = {canonicalize_name(p) for e in ENGINES.values() for p in e.packages if "x86-64" in e.needs}
PINNED = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines() if line]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("pipeline", "sweep", "dev")

here = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="packages of one platform alone have to be installed to say what they ask for",
)


def asked_on(platform_: dict[str, str]) -> set[str]:
    """Every package that is asked for, of the project and of one another, on a platform."""
    environment = {k: str(v) for k, v in default_environment().items()} | platform_ | {"python_version": "3.11"}
    first = [*PROJECT["dependencies"], *(line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra])]
    waiting, seen, found = [(Requirement(line), "") for line in first], set[tuple[str, str]](), set[str]()
    while waiting:
        wanted, of = waiting.pop()
        if wanted.marker is not None and not wanted.marker.evaluate(environment | {"extra": of}):
            continue
        name = canonicalize_name(wanted.name)
        found.add(name)
        for extra in ("", *wanted.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [(Requirement(line), extra) for line in _requires(name)]
    return found


def _requires(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # of another platform
        return []


def pinned_on(platform_: dict[str, str]) -> set[str]:
    environment = {k: str(v) for k, v in default_environment().items()} | platform_ | {"python_version": "3.11"}
    return {canonicalize_name(pin.name) for pin in PINNED if pin.marker is None or pin.marker.evaluate(environment)}


@here
@pytest.mark.parametrize("name", PLATFORMS)
def test_what_is_asked_for_on_a_platform_is_pinned_there_and_nothing_of_another(name: str) -> None:
    asked, pinned = asked_on(PLATFORMS[name]), pinned_on(PLATFORMS[name])
    elsewhere = set.union(*map(asked_on, PLATFORMS.values()))
    assert asked <= pinned, f"not pinned on {name}: {sorted(asked - pinned)}"
    assert not pinned & (elsewhere - asked), f"pinned on {name}, where nothing asks for it"


def test_an_engine_for_x86_alone_is_asked_for_nowhere_else() -> None:
    assert X86_ALONE
    for name, platform_ in PLATFORMS.items():
        assert (pinned_on(platform_) >= X86_ALONE) == (name == "Linux on x86-64")
        assert bool(asked_on(platform_) & X86_ALONE) == (name == "Linux on x86-64")


def test_the_library_names_no_package_of_one_platform() -> None:
    library = [Requirement(line) for line in PROJECT["dependencies"]]
    assert all(wanted.marker is None for wanted in library)
    assert not {canonicalize_name(wanted.name) for wanted in library} & X86_ALONE


def test_what_only_linux_has_is_asked_for_carefully() -> None:
    """`os.sched_getaffinity` and /proc: macOS has neither."""
    code = [path for folder in ("seam", "tasks", "flows") for path in (ROOT / folder).rglob("*.py")]
    for path in code:
        text = path.read_text()
        for match in re.finditer(r"os\.sched_[gs]etaffinity\(", text):
            around = text[max(0, match.start() - 400) : match.end() + 120]
            assert "hasattr(os, " in around or "if cores" in around, f"{path}: not on macOS"
