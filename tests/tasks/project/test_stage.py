"""Where stages write: whole folders or none, clear lines when the machine fails."""

import errno
import logging
import os
import runpy
import shutil
import subprocess
import sys
import warnings

import pytest

from seam.errors import SeamError, SuspectResultWarning
from seam.files import read_json, write_bytes, write_csv, write_json
from tasks.project.params import Params
from tasks.project.stage import StageContext, collect_warnings, execute
from tasks.project.stages import all_stages
from tasks.project.subject import Subject
from tests.defaults import ROOT, write_params


@pytest.fixture
def context(tmp_path):
    return StageContext("search", Params(problems={"p": ("a",)}), tmp_path, Subject("problem", "p"))


def test_publish_replaces_the_folder_whole(context):
    for content in ("old", "new"):
        with context.publish() as out:
            (out / f"{content}.txt").write_text(content)
    assert [p.name for p in context.folder("search").iterdir()] == ["new.txt"]
    assert not context.work_folder.exists()
    assert context.result({"x": 1}).files == ("artifacts/p/search/new.txt",)


def test_a_failed_stage_leaves_the_published_folder_as_it_was(context):
    with context.publish() as out:
        (out / "a").write_text("whole")

    def fail():
        with context.publish() as out:
            (out / "a").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (context.artifact("search", "a")).read_text() == "whole"


def test_checkpoints_survive_a_failed_attempt(context):
    write_bytes(context.work_folder / "checkpoint", b"1")

    def fail():
        with context.publish():
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (context.work_folder / "checkpoint").read_bytes() == b"1"


def test_a_full_disk_is_one_clear_line(context):
    def body(context):
        raise OSError(errno.ENOSPC, "No space left on device", "mask.safetensors")

    with pytest.raises(
        SeamError,
        match=r"search: the disk is full \(\d+ MiB free under .*\) while writing mask.safetensors; free some space",
    ):
        execute(body, context)


def test_other_os_errors_pass(context):
    def body(context):
        raise PermissionError("no")

    with pytest.raises(PermissionError):
        execute(body, context)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_really_full_disk_keeps_the_old_file_and_no_half_one(small_disk):
    path = small_disk / "a.bin"
    write_bytes(path, b"old")
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, bytes(1 << 20))
    assert path.read_bytes() == b"old"
    assert [p.name for p in small_disk.iterdir()] == ["a.bin"]


def test_a_stage_on_a_really_full_disk_says_so_and_publishes_nothing(small_disk):
    def body(context):
        with context.publish() as out:
            write_bytes(out / "mask.safetensors", bytes(1 << 20))
        return context.result({})

    context = StageContext("search", Params(problems={"p": ("a",)}), small_disk, Subject("problem", "p"))
    with pytest.raises(SeamError, match="the disk is full"):
        execute(body, context)
    assert not context.folder("search").exists()
    shutil.rmtree(small_disk / "artifacts")


def test_doubts_are_collected_with_the_stages_parameters_and_other_warnings_pass(caplog, tmp_path):
    context = StageContext("finetune", Params(problems={"p": ("a",)}), tmp_path, Subject("problem", "p"))
    other = pytest.warns(UserWarning, match="other")
    with caplog.at_level(logging.WARNING), other, collect_warnings(context) as doubts:
        warnings.warn("nothing was removed", SuspectResultWarning, stacklevel=1)
        warnings.warn(SuspectResultWarning("it never learnt", hint="learning_rate"), stacklevel=1)
        warnings.warn("other", UserWarning, stacklevel=1)
    assert doubts == ["nothing was removed", "it never learnt; lower finetune.lr, finetune.lr_head or finetune.rates."]
    assert all(text in caplog.text for text in doubts)


def test_json_never_holds_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()
    write_json(tmp_path / "a.json", {"x": 1.5})
    assert read_json(tmp_path / "a.json") == {"x": 1.5}


def test_csv_leaves_out_what_is_not_a_column(tmp_path):
    write_csv(tmp_path / "a.csv", ("x", "y"), [{"y": 2, "x": 1, "z": 3}])
    assert (tmp_path / "a.csv").read_text() == "x,y\n1,2\n"


@pytest.mark.parametrize("stage", list(all_stages()))
def test_each_stage_explains_itself(stage, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"tasks/{stage}.py", "--help"])
    with pytest.raises(SystemExit) as ended, warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        runpy.run_module(f"tasks.{stage}", run_name="__main__")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"python -m tasks.{stage}" in shown
    assert "--params FILE" in shown


def test_a_stage_alone_fails_with_one_line(tmp_path):
    write_params(tmp_path / "params.yaml")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tasks.search", "--problem", "digit-0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "run the stage prepare_source" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "artifacts").exists()
