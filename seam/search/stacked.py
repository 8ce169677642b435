"""Several problems' objectives as one: a pass through the network for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional as F

from seam.errors import SearchError
from seam.masks.stacked import put_rows, stacked_scores
from seam.networks.head import TargetHead
from seam.networks.with_tensors import running_with
from seam.search.images import StackedImages
from seam.search.objective import CrossEntropy

_Images = Float[Tensor, "problems batch channels height width"]


class StackedObjective:
    """The objectives of several problems over copies of one network, with heads of one size after it.

    All that learns, and the statistics of BatchNorm, lies in tensors with a first dimension for the
    problems; what the objectives have becomes their rows, in the same memory, so that each is at
    any time as if it had learnt alone, but for its effective weights. An implementation of
    `seam.search.objective.Objective`, whose losses and logits have that dimension too.
    """

    def __init__(self, objectives: Sequence[CrossEntropy]) -> None:
        """Take one or more."""
        first = objectives[0]
        self.network, self.runtime = first.network, first.runtime
        self.scored = stacked_scores([own.scored for own in objectives])
        self._weights = self.scored.effective.leaf()
        heads, networks = [own.head for own in objectives], [own.network for own in objectives]
        names: dict[Tensor, str] = {parameter: name for name, parameter in first.network.named_parameters()}
        self._norms = {names[p]: _stacked([n.get_parameter(names[p]) for n in networks]) for p in first.norms}
        self._buffers = {
            name: _stacked([network.get_buffer(name) for network in networks])
            for name, _ in first.network.named_buffers()
        }
        of_head = {name: _stacked([h.get_parameter(name) for h in heads]) for name, _ in first.head.named_parameters()}
        self.head = nn.ParameterList([nn.Parameter(stack) for stack in of_head.values()])
        self._of_head = dict(zip(of_head, self.head, strict=True))
        self.norms = [stack.requires_grad_() for stack in self._norms.values()]
        self._run_network = vmap(running_with(self.network), randomness="different")
        self._run_head = vmap(running_with(first.head))

    def descend(self, images: _Images, labels: Int[Tensor, "problems batch"]) -> Float[Tensor, " problems"]:
        """Leave each problem's gradients, as a backward pass of its own would.

        Args:
            images: normalised.
            labels: of each problem's classes.

        Returns:
            Mean losses of the problems' batches, not waited for.
        """
        with self.runtime.autocast():
            found = self._network_logits(images)
        logits = self._of_targets(found.float())
        of_images = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        losses = of_images.view_as(labels).mean(1)
        losses.sum().backward()
        return losses.detach()

    def logits(self, images: _Images) -> Float[Tensor, "problems batch classes"]:
        """Logits over the targets' classes by the models as they are now."""
        return self._of_targets(self._network_logits(images))

    @torch.no_grad()
    def accuracies(self, images: StackedImages, size: int) -> Float[Tensor, " problems"]:
        """Fractions of each problem's val images that are right, `size` of each at a time; not waited for."""
        pieces = [self._right(*piece) for piece in images.of_val(size)]
        counts = torch.tensor([len(own.val) for own in images.members], device=self.runtime.device)
        return torch.stack(pieces).sum(0).double() / counts

    def _right(
        self, images: _Images, labels: Int[Tensor, "problems batch"], count: Bool[Tensor, "problems batch"]
    ) -> Int[Tensor, " problems"]:
        return ((self.logits(images).argmax(2) == labels) & count).sum(1)

    def _of_targets(self, found: Float[Tensor, "problems batch network_classes"]) -> Tensor:
        logits: Tensor = self._run_head(self._of_head, found)
        return logits

    def _network_logits(self, images: _Images) -> Tensor:
        try:
            weights = self.scored.effective.split(self._weights)
            logits: Tensor = self._run_network({**weights, **self._norms, **self._buffers}, images)
        except (RuntimeError, ValueError, NotImplementedError) as e:
            if isinstance(e, torch.OutOfMemoryError):
                raise
            kind = type(self.network).__name__
            why = " ".join(str(e).split())[:200]
            raise SearchError(f"{kind} cannot be run for several problems at once ({why})", hint="together") from e
        return logits


def classes_of(objective: CrossEntropy) -> int:
    """Of its problem."""
    assert isinstance(objective.head, TargetHead)
    return objective.head.linear.out_features


def _stacked(members: Sequence[Tensor]) -> Tensor:
    """A stack of tensors, whose rows they become."""
    stack = torch.stack([own.detach() for own in members])
    put_rows(members, stack)
    return stack
