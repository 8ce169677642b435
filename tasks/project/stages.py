"""Which stages there are, of what, in what order; and the kinds of subjects that they work on, one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Stage:
    """One stage; its name is that of its file in `tasks/`, of its entry in DVC's file and of its folder."""

    name: str
    of: Literal["project", "subject", "student"] = "subject"
    """How often it runs: once in the project, once for each subject, once for each student of a subject
    (those that the section of parameters with the stage's name lists)."""
    times: tuple[str, str] | None = None
    """File and key that say which machine its times were taken on; None: it takes none, or trains too."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of subject: what is worked on, and by which stages. Everything that depends on the kind stands here."""

    name: str
    """Of one subject, also its flag on command lines (--problem) and its tag in MLflow (seam.problem)."""
    section: str
    """Section of the parameters that defines its subjects by name."""
    command: str
    """`seam COMMAND` runs its stages."""
    noun: str
    """One subject, in sentences."""
    definition: str
    """One entry of its section, in sentences."""
    none_yet: str
    """Said where its section is empty and a subject is needed."""
    first: tuple[Stage, ...]
    """Run for all subjects before the rest, stage by stage: what data and source can refuse."""
    then: tuple[Stage, ...]
    """Run subject by subject."""
    data: str
    """The stage that publishes its dataset.safetensors."""
    source: str
    """The stage that publishes its source.safetensors and source.json."""
    source_section: str
    """Section of the parameters that names the source's checkpoint."""
    search_section: str
    """Section of the parameters of a mask search."""
    registers: str | None
    """The stage that registers a model; None: nothing is registered."""
    reports: str
    """The stage that publishes its report.html."""
    split: tuple[str, str] | None = None
    """The stage and its file that say how many images val has (`num_val`) and where they come from
    (`val_from`); None: nothing is split."""
    next_commands: tuple[tuple[str, str], ...] = ()
    """After a run: commands, {name} being the first subject's, and what each is for."""
    own_data: bool = False
    """Whether an entry of its section is a data set; if not, its data is the section `data`."""
    deed: str = ""
    """What is done to a subject, before its name among MLflow's runs and registered models."""
    shaped_by: tuple[str, ...] = ()
    """Sections of the parameters that shape its results, beside `seed` and those called as its stages."""
    defined_as: str | None = None
    """What its entry is called in the lineage of its results; None: its data set stands for it."""
    made_of: str | None = None
    """The kind of subjects that its own are made of, which come first: those that the key `of` of an entry names."""

    @property
    def nouns(self) -> str:
        """Several subjects, in sentences."""
        return f"{self.noun}{'es' if self.noun.endswith('ch') else 's'}"

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All of its stages, in the order they run."""
        return self.first + self.then

    @property
    def of_subjects(self) -> tuple[str, ...]:
        """Names of those that are not of the project: the stages in its pipeline file."""
        return tuple(stage.name for stage in self.stages if stage.of != "project")

    @property
    def shaping(self) -> tuple[str, ...]:
        """Names that the sections of the parameters have that shape its results; a stage may have no section."""
        return ("seed", *(stage.name for stage in self.stages), *self.shaped_by)

    @property
    def has_students(self) -> bool:
        """Whether a subject has students."""
        return any(stage.of == "student" for stage in self.stages)


PROBLEM = Kind(
    name="problem",
    section="problems",
    command="run",
    noun="target problem",
    definition="a target problem",
    none_yet="params.yaml has no target problem; add one: seam run --set 'problems={cats: [cat]}'",
    first=(
        Stage("validate_data", "project"),
        Stage("split_dataset"),
        Stage("prepare_source", "project"),
        Stage("profile_source", "project", times=("times.json", "machine")),
    ),
    then=(
        Stage("search"),
        Stage("finetune"),
        Stage("evaluate"),
        Stage("evaluate_robustness"),
        Stage("benchmark_latency", times=("export.json", "hardware")),
        Stage("register_model"),
    ),
    data="validate_data",
    source="prepare_source",
    source_section="prepare_source",
    search_section="search",
    registers="register_model",
    reports="register_model",
    split=("split_dataset", "summary.json"),
    next_commands=(
        ("seam report --open", "see convergence, density per layer, accuracy, latency"),
        ("seam serve --problem {name}", "answer REST requests with class names"),
        ("seam run --set search.target=0.02", "try another trade-off; only what depends on it runs"),
    ),
    defined_as="classes",
)
TARGET = Kind(
    name="target",
    section="targets",
    command="transfer",
    noun="target",
    definition="a data set",
    none_yet=(
        "params.yaml has no target to transfer to; add one: seam transfer --set 'targets={flowers: {kind:"
        " image_folder, path: flowers, image_size: 224}}' (docs/transfer.md)"
    ),
    first=(Stage("validate_target"), Stage("fetch_source")),
    then=(
        Stage("attack_target"),
        Stage("transfer", "student"),
        Stage("compare_transfers"),
        Stage("register_transfer"),
    ),
    data="validate_target",
    source="fetch_source",
    source_section="transfer",
    search_section="transfer.search",
    registers="register_transfer",
    reports="compare_transfers",
    split=("attack_target", "attack.json"),
    next_commands=(
        (
            "seam transfer --set 'transfer.methods=[standard, seam-30, seam-50, seam-70, seam-90, retrain]'",
            "trade accuracy for inherited defects",
        ),
        ("seam transfer --set 'transfer.seeds=[0, 1, 2]'", "more seeds; only new students are trained"),
    ),
    own_data=True,
    deed="transfer",
    shaped_by=("split_dataset", "evaluate_robustness"),
)
RESTRUCTURING = Kind(
    name="restructuring",
    section="restructurings",
    command="restructure",
    noun="restructuring",
    definition="a restructuring",
    none_yet="params.yaml has no restructuring; add one: seam restructure --set 'restructurings={flat: {}}'",
    first=(Stage("validate_data", "project"), Stage("prepare_source", "project")),
    then=(Stage("restructure"), Stage("register_restructuring")),
    data="validate_data",
    source="prepare_source",
    source_section="prepare_source",
    search_section="search",
    registers="register_restructuring",
    reports="restructure",
    next_commands=(
        ("seam report --restructuring {name} --open", "see which blocks are alike, and the other ways"),
        (
            "seam run --params artifacts/{name}/restructure/source.yaml",
            "channels after blocks: the problems, with this network as their source",
        ),
        ("seam serve --restructuring {name}", "answer REST requests with class names"),
    ),
    deed="restructuring",
    shaped_by=("runtime", "split_dataset"),
    defined_as="restructuring",
)
MODULARIZATION = Kind(
    name="modularization",
    section="modularizations",
    command="modularize",
    noun="modularization",
    definition="a modularization",
    none_yet="params.yaml has no modularization; add one: seam modularize --set 'modularizations={parts: {}}'",
    first=RESTRUCTURING.first,
    then=(Stage("modularize"),),
    data="validate_data",
    source="prepare_source",
    source_section="prepare_source",
    search_section="search",
    registers=None,
    reports="modularize",
    next_commands=(
        ("seam report --modularization {name} --open", "see what each class needs of each layer"),
        ("seam compose few --of {name}", "put modules together, without training; --classes A,B takes some of them"),
    ),
    shaped_by=("runtime", "split_dataset"),
    defined_as="modularization",
)
COMPOSITION = Kind(
    name="composition",
    section="compositions",
    command="compose",
    noun="composition",
    definition="a composition",
    none_yet=(
        "params.yaml has no composition; add one, with the classes that the network is to tell apart: seam compose few"
        " --of parts --classes bag,dress,shirt"
    ),
    first=RESTRUCTURING.first,
    then=(Stage("list_parts"), Stage("compose"), Stage("register_composition")),
    data="validate_data",
    source="prepare_source",
    source_section="prepare_source",
    search_section="search",
    registers="register_composition",
    reports="compose",
    next_commands=(
        ("seam report --composition {name} --open", "see each class beside the sources, and what is taken for what"),
        ("seam compose other --of A,B", "choose among the modules of several networks (docs/parts.md)"),
        ("seam serve --composition {name}", "answer REST requests with class names"),
    ),
    deed="composition",
    shaped_by=("runtime", "split_dataset"),
    defined_as="composition",
    made_of=MODULARIZATION.name,
)
PATCH = Kind(
    name="patch",
    section="patches",
    command="patch",
    noun="patch",
    definition="a patch",
    none_yet=(
        "params.yaml has no patch; add one, with the class that the model is weak at: seam patch fix --of parts"
        " --class shirt"
    ),
    first=RESTRUCTURING.first,
    then=(Stage("list_part"), Stage("patch"), Stage("register_patch")),
    data="validate_data",
    source="prepare_source",
    source_section="prepare_source",
    search_section="search",
    registers="register_patch",
    reports="patch",
    next_commands=(
        ("seam report --patch {name} --open", "see which classes are taken for which, before and after"),
        ("seam patch --set patches.{name}.caution=0", "find more of the class, at some risk for the others"),
        ("seam serve --patch {name}", "answer REST requests with class names"),
    ),
    deed="patch",
    shaped_by=("runtime", "split_dataset"),
    defined_as="patch",
    made_of=MODULARIZATION.name,
)
SELECTION = Kind(
    name="selection",
    section="selections",
    command="select",
    noun="selection",
    definition="a selection",
    none_yet=(
        "params.yaml has no selection; add one, with the networks to choose from: seam select best --candidates"
        " weights,torchvision:squeezenet1_1"
    ),
    first=(Stage("validate_data", "project"),),
    then=(Stage("select"),),
    data="validate_data",
    source="prepare_source",
    source_section="prepare_source",
    search_section="search",
    registers=None,
    reports="select",
    next_commands=(
        ("seam report --selection {name} --open", "see every estimate, cost and defect beside the others"),
        (
            "seam transfer --params artifacts/{name}/select/source.yaml",
            "the winner as the network that is transferred to `targets`",
        ),
        (
            "seam run --params artifacts/{name}/select/source.yaml",
            "the winner as the source of the problems, where its classes are those of the data",
        ),
    ),
    shaped_by=("runtime", "split_dataset"),
    defined_as="selection",
)
KINDS = {kind.name: kind for kind in (PROBLEM, TARGET, RESTRUCTURING, MODULARIZATION, COMPOSITION, PATCH, SELECTION)}
"""The rows by name. A new kind is a row here, its section of the parameters and its stages' files."""
MODULARIZED = "modularized"
"""Folder of artifacts/ with a small file a modularization, which changes with it: of these a stage lists those that a
subject is made of, for DVC to compare, which takes no lists of dependencies."""
DIGEST_STAGE, LAYOUT_STAGE = "digest_code", "lay_out"
"""Of DVC alone: what `dvc repro` sees of the code, and of the subjects. They are of no kind; flows do themselves what
they do."""


def all_stages() -> dict[str, Stage]:
    """Every stage of every kind by name, in the order they run."""
    return {stage.name: stage for kind in KINDS.values() for stage in kind.stages}


def kind_of(stage: str) -> Kind | None:
    """The kind of subjects that a stage works on; None for a stage of the project."""
    return next(
        (kind for kind in KINDS.values() if any(s.name == stage and s.of != "project" for s in kind.stages)), None
    )
