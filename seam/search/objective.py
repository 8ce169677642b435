"""What a search descends: which logits, which loss, and what learns along with the scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from seam.configs.search import SearchConfig
from seam.masks.scores import Scores
from seam.networks.norms import norm_parameters, norm_tensors, put_norm_tensors
from seam.networks.with_tensors import running_with
from seam.runtime import Runtime

Images = Float[Tensor, "batch channels height width"]


@runtime_checkable
class Objective(Protocol):
    """A model under a mask and the loss that its scores, and what learns along with them, descend."""

    @property
    def network(self) -> nn.Module:
        """What is masked, in eval mode; the loop alone changes the mode of its normalisation layers."""
        ...

    @property
    def scored(self) -> Scores:
        """The mask's scores."""
        ...

    @property
    def head(self) -> nn.Module:
        """What learns along; a part of the network, or after it."""
        ...

    @property
    def norms(self) -> Sequence[Tensor]:
        """Scales and shifts of the network's normalisation layers that learn along; may be empty."""
        ...

    def descend(self, images: Images, labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Leave the gradients of effective weights, head and norms.

        Args:
            images: normalised.
            labels: of the target's classes.

        Returns:
            The batch's mean loss, not waited for.
        """
        ...

    def logits(self, images: Images) -> Float[Tensor, "batch classes"]:
        """Logits over the target's classes by the model as it is now."""
        ...


@dataclass(frozen=True)
class CrossEntropy:
    """The cross-entropy of a masked network's logits, or of what a head after it makes of them."""

    network: nn.Module
    scored: Scores
    """Over weights of `network`."""
    head: nn.Module
    norms: Sequence[Tensor]
    runtime: Runtime
    head_inside: bool = False
    """Whether the head is a part of `network`."""

    def descend(self, images: Images, labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """Leave the gradients; the network in the runtime's precision, the rest in float32."""
        with self.runtime.autocast():
            found = self.network_logits(images)
        loss = self.loss(found, labels)
        loss.backward()
        return loss.detach()

    def loss(self, found: Float[Tensor, "batch network_classes"], labels: Int[Tensor, " batch"]) -> Float[Tensor, ""]:
        """The loss of the network's logits, in any precision."""
        return F.cross_entropy(self._of_target(found.float()), labels)

    def logits(self, images: Images) -> Float[Tensor, "batch classes"]:
        """Logits over the target's classes by the model as it is now."""
        return self._of_target(self.network_logits(images))

    def network_logits(self, images: Images) -> Float[Tensor, "batch network_classes"]:
        """What the network gives with the effective weights in place of its own."""
        return self._run(self.scored.effective.by_name, images)

    @cached_property
    def _run(self) -> Callable[[Mapping[str, Tensor], Tensor], Tensor]:
        return running_with(self.network)

    def _of_target(self, found: Tensor) -> Tensor:
        logits: Tensor = found if self.head_inside else self.head(found)
        return logits


def learning_norms(network: nn.Module, config: SearchConfig) -> list[Tensor]:
    """Scales and shifts of a frozen network that learn along from now on; none if the config freezes them."""
    return [p.requires_grad_() for p in norm_parameters(network)] if config.norm_layers == "learn" else []


def learnt(objective: Objective) -> dict[str, Tensor]:
    """Copies of all that learns: scores, head, normalisation layers with their statistics."""
    head = {f"head.{k}": v.detach().clone() for k, v in objective.head.state_dict().items()}
    norms = {f"norms.{k}": v for k, v in norm_tensors(objective.network).items()}
    return {"scores": objective.scored.scores.detach().clone(), **head, **norms}


@torch.no_grad()
def put_back(objective: Objective, tensors: Mapping[str, Tensor]) -> None:
    """Undo what was learnt since `learnt`; the mask is made anew when it is next asked for."""
    objective.scored.scores.copy_(tensors["scores"])
    objective.head.load_state_dict(under("head.", tensors))
    put_norm_tensors(objective.network, under("norms.", tensors))


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries whose name starts with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
