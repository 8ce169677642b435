"""Only-Train-Once 3.0: HESSO, an optimizer that prunes groups of channels while it trains.

As its authors use it, in proportion: a pass of plain training, then a third of the passes in which
the redundant groups are found and led to zero, then plain training of what is left.
SGD with momentum, the library's own step; the last pass is kept, as all before are larger. What the
library has of torch's inner functions has moved in torch 2.14, and it calls .cuda() at one place:
both are put right here, nothing else of it is touched.

Source: T. Chen et al., "OTOv3: Automatic Architecture-Agnostic Neural Network Training and
Compression from Structured Pruning to Erasing Operators", 2023; the library's tutorials.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import tempfile
import types
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from duel.budget import first_within
from duel.rivals.torch_pruning import widths
from duel.task import Made, NoLayoutError, Setting, Task
from seam.data.images import redrawn
from seam.masks.groups import channel_groups
from seam.networks.head import Reengineered
from seam.training.batches import num_batches
from seam.training.finetune import distilled
from seam.training.loop import Epoch, TrainingPlan, train

MULTIPLES = (8, 4, 1)
_GRID = tuple(round(0.05 * i, 2) for i in range(2, 20))
_PERIODS = 10
"""Of pruning, where widths may be any; one, where they are multiples: the few groups that a period
takes would be rounded away."""
_BATCH = 64
_RUNS, _MORE = 3, 0.06


def hesso(task: Task, setting: Setting) -> Made:
    """The arm; where its layout after the training takes too long, it is run again with more groups to remove."""
    multiple, share = _layout(task)
    for runs in range(1, _RUNS + 1):
        with _moved():
            model, epochs = _trained(task, setting, multiple, share)
        if task.fits(model):
            facts = {"group_sparsity": share, "group_divisible": multiple, "runs": runs, "widths": widths(model)}
            facts["version"] = version("only-train-once")
            return Made(model, epochs, task.passes, epochs[-1].val_accuracy, facts)
        share = min(share + _MORE, 0.95)
    raise NoLayoutError(f"over the budget after {_RUNS} runs: {task.spent(model):.1%}")


def _layout(task: Task) -> tuple[int, float]:
    """The multiple of widths, and the smallest group sparsity within the budget by the scores of one batch."""
    least = []
    for multiple in MULTIPLES:

        def cost(share: float, multiple: int = multiple) -> float:
            model = task.original()
            with _moved():
                oto = _prepared(model, task)
                optimizer = _optimizer(oto, 1e-12, share, multiple, start=0, steps=1, periods=1)
                _step(task, model, optimizer)
                return task.spent(_constructed(oto))

        share, smallest = first_within(task, f"hesso-{multiple}", cost, _GRID)
        if share is not None:
            return multiple, share
        least.append(smallest)
    raise NoLayoutError(f"no layout within the budget: the smallest takes {min(least):.1%}")


def _trained(task: Task, setting: Setting, multiple: int, share: float) -> tuple[nn.Module, list[Epoch]]:
    steps = num_batches(len(task.train), _BATCH)
    device = task.runtime.device
    model = task.original().to(device)
    oto = _prepared(model, task)
    periods = _PERIODS if multiple == 1 else 1
    pruning = max(_PERIODS, task.passes // 3 * steps // _PERIODS * _PERIODS)
    optimizer = _optimizer(oto, setting.rate, share, multiple, start=steps, steps=pruning, periods=periods)
    loss = distilled(model, task.teacher().to(device), 1.0) if setting.loss == "logits" else None
    plan = TrainingPlan(task.passes, _BATCH, "crop_flip", task.seed, cosine=True, keep_best=False)
    epochs = train(
        model,
        optimizer,
        task.source.preprocess(),
        task.train,
        task.val,
        plan,
        task.runtime,
        negatives=redrawn(task.train.to(device), None if task.spare is None else task.spare.to(device)),
        loss_of=loss,
    )
    return _constructed(oto), epochs


def _prepared(model: Reengineered, task: Task) -> Any:
    """The library's graph of the model; layers that it cannot prune, or must not, are left out."""
    from only_train_once import OTO

    model.requires_grad_(True)
    importable(model)
    with _silent():
        oto = OTO(model=model, dummy_input=task.example(1).to(next(model.parameters()).device))
        oto.mark_unprunable_by_param_names(_kept(model, task))
    return oto


def _kept(model: Reengineered, task: Task) -> list[str]:
    """The layer of the source's logits; and where shortcuts pad channels, all layers that make those of the branches.

    The library takes the padded channels for as many as are added to them, and cuts what is not there.
    """
    layers = {n: m for n, m in model.network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    kept = [list(layers)[-1]]
    if any("Padded" in type(m).__name__ for m in model.network.modules()):
        groups = channel_groups(task.source.network, task.example())
        kept += [n for n in groups.outputs if n not in groups.dispensable]
    norms = {n.replace("conv", "bn") for n in kept} - set(kept)
    wanted = {*kept, *norms}
    return [f"network.{n}" for n, _ in model.network.named_parameters() if n.rpartition(".")[0] in wanted]


def _optimizer(oto: Any, rate: float, share: float, multiple: int, start: int, steps: int, periods: int) -> Any:
    with _silent():
        return oto.hesso(
            variant="sgd",
            lr=rate,
            first_momentum=0.9,
            weight_decay=5e-4,
            target_group_sparsity=share,
            start_pruning_step=start,
            pruning_steps=steps,
            pruning_periods=periods,
            group_divisible=multiple,
        )


def _step(task: Task, model: Reengineered, optimizer: Any) -> None:
    """One step on some images, with a rate that leaves the weights as they are but for those that are pruned."""
    few = max(1, len(task.train) // (4 * _BATCH))
    images, labels = task.train.images[::few], task.train.labels[::few]
    model.eval()
    F.cross_entropy(model(task.source.preprocess()(images)), labels).backward()
    optimizer.step()


def _constructed(oto: Any) -> nn.Module:
    """The small network, as the library makes it."""
    with tempfile.TemporaryDirectory() as folder, _silent():
        oto.construct_subnet(out_dir=folder, save_full_group_sparse_model=False)
        path = oto.compressed_model_path
        found: nn.Module = torch.load(path, "cpu", weights_only=False)  # its own file, written just now
    return found.eval()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The library prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@contextlib.contextmanager
def _moved() -> Iterator[None]:
    """Let the library find torch's exporter where it was, and take .cuda() for what it is on a CPU."""
    sys.modules.setdefault("imp", types.ModuleType("imp"))  # imported, and not used; Python 3.12 has none
    inner = "torch.onnx._internal.torchscript_exporter"
    sys.modules.setdefault("torch.onnx._globals", importlib.import_module(f"{inner}._globals"))
    exporter = importlib.import_module(f"{inner}.utils")
    if not hasattr(torch.onnx, "_optimize_graph"):
        torch.onnx._optimize_graph = exporter._optimize_graph
    before = torch.Tensor.cuda
    torch.Tensor.cuda = _same
    try:
        yield
    finally:
        torch.Tensor.cuda = before


def _same(tensor: Tensor, *_: Any) -> Tensor:
    return tensor


def importable(model: nn.Module) -> None:
    """Let pickle find the classes of a network that was built from a file of its own."""
    for module in model.modules():
        kind = type(module)
        if kind.__module__ not in sys.modules:
            sys.modules[kind.__module__] = types.ModuleType(kind.__module__)
        if not hasattr(sys.modules[kind.__module__], kind.__name__):
            setattr(sys.modules[kind.__module__], kind.__name__, kind)
