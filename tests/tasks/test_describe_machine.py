"""Results belong to the kind of machine that computed them."""

from pathlib import Path

from ruamel.yaml import YAML

from seam.files import read_json
from seam.hardware import describe
from tasks.describe_machine import describe_machine
from tasks.project.params import Params
from tasks.project.stage import StageContext

ROOT = Path(__file__).parents[2]
MACHINE = "artifacts/describe_machine/machine.json"
STAGES = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def test_the_machine_and_versions_are_written_the_same_each_time(tmp_path):
    context = StageContext("describe_machine", Params(problems={"p": ("a",)}), tmp_path)
    describe_machine(context)
    first = (tmp_path / MACHINE).read_bytes()
    describe_machine(context)
    assert (tmp_path / MACHINE).read_bytes() == first
    written = read_json(tmp_path / MACHINE)
    assert {k: v for k, v in written.items() if k != "versions"} == describe()
    assert {"torch", "numpy", "onnxruntime"} <= written["versions"].keys()
    assert written["cores"] >= 1


def test_every_clone_describes_its_own_machine():
    (out,) = STAGES["describe_machine"]["outs"]
    assert out == {MACHINE: {"cache": False}}


def test_every_stage_that_computes_with_floats_depends_on_it():
    computing = {name for name, stage in STAGES.items() if MACHINE in (stage.get("do") or stage).get("deps", ())}
    assert computing == {
        "prepare_source",
        "profile_source",
        "search",
        "finetune",
        "evaluate",
        "evaluate_robustness",
        "benchmark_latency",
        "fetch_source",
        "attack_target",
        "transfer",
        "restructure",
        "modularize",
        "patch",
        "compose",
    }
