"""How many threads: by the work and by what the machine leaves this process, never by what else goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from seam import hardware
from seam.configs.runtime import RuntimeConfig
from seam.door.computing import computing
from seam.runtime import start, threads_for


@pytest.fixture(autouse=True)
def as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def test_small_images_take_one_thread_and_others_every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seam.runtime.cores", lambda: 6)
    assert [threads_for(side**2) for side in (1, 8, 15, 16, 28, 224)] == [1, 1, 1, 6, 6, 6]
    assert threads_for(0) == 6  # not images


def test_it_is_asked_by_one_function_and_a_number_in_the_parameters_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seam.runtime.cores", lambda: 3)
    cpu = RuntimeConfig(device="cpu")
    assert (start(cpu, 64).threads, torch.get_num_threads()) == (1, 1)
    assert (start(cpu, 32 * 32).threads, torch.get_num_threads()) == (3, 3)
    assert start(RuntimeConfig(device="cpu", threads=2), 64).threads == 2 == torch.get_num_threads()


def test_the_load_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threads_for(32 * 32)
    monkeypatch.setattr(os, "getloadavg", lambda: (500.0, 500.0, 500.0))
    assert threads_for(32 * 32) == before


def test_a_call_of_the_door_takes_no_more_than_the_process_has_nor_than_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seam.runtime.cores", lambda: 4)
    torch.set_num_threads(2)
    for pixels, threads in ((64, 1), (32 * 32, 2)):
        with computing("cpu", pixels, 0) as runtime:
            assert runtime.threads == threads == torch.get_num_threads()
    assert torch.get_num_threads() == 2


def group(mount: Path, path: str, **files: str) -> None:
    folder = mount / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("memberships", "groups", "quota"),
    [
        ("0::/\n", {"": {"cpu__max": "150000 100000"}}, 1.5),
        ("0::/\n", {"": {"cpu__max": "max 100000"}}, None),
        ("0::/a/b\n", {"a": {"cpu__max": "50000 100000"}, "a/b": {"cpu__max": "400000 100000"}}, 0.5),
        ("0::/seen/from/outside\n", {"": {"cpu__max": "200000 100000"}}, 2.0),
        ("0::/\n", {}, None),
        ("0::/\n", {"": {"cpu__max": "nonsense"}}, None),
        (
            "4:cpu,cpuacct:/a\n3:memory:/b\n",
            {"cpu/a": {"cpu__cfs_quota_us": "300000", "cpu__cfs_period_us": "100000"}},
            3.0,
        ),
        (
            "4:cpu,cpuacct:/\n",
            {"cpu,cpuacct": {"cpu__cfs_quota_us": "-1", "cpu__cfs_period_us": "100000"}},
            None,
        ),
    ],
)
def test_a_control_groups_share_of_the_cpus(
    tmp_path: Path, memberships: str, groups: dict[str, dict[str, str]], quota: float | None
) -> None:
    (tmp_path / "cgroup").write_text(memberships)
    for path, files in groups.items():
        group(tmp_path / "mount", path, **files)
    assert hardware._quota(tmp_path / "mount", tmp_path / "cgroup") == quota


@pytest.mark.parametrize(("quota", "cores"), [(None, 8), (0.3, 1), (1.5, 2), (64.0, 8)])
def test_cores_are_those_it_is_bound_to_and_has_the_time_of(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int
) -> None:
    monkeypatch.setattr(hardware, "_quota", lambda *_: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert hardware.cores() == cores == hardware.describe()["cores"]


def test_a_system_without_either_has_the_cores_it_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """macOS: no affinity, no /proc."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    monkeypatch.setattr(hardware, "_quota", lambda *_: None)
    assert hardware.cores() == 5
    monkeypatch.undo()
    assert hardware._quota(tmp_path, tmp_path / "none") is None
