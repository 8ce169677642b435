"""Defects a model inherits from its source: the published feature attack, and the defect inheritance rate.

Source: SeaM section 5.4 and its code, after Rezaei & Liu 2020. The attack sees only the source's
features, no labels and no target head, so one adversarial set serves every model made from that
source. All of it happens in normalised space.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seam.configs.defects import AttackConfig
from seam.defects._advertorch import LinfPGDAttack
from seam.defects._advertorch import version as advertorch_version
from seam.defects.penultimate import Images, PenultimateFeatures
from seam.errors import SuspectResultWarning

PUBLISHED_CLIP = 2.2
"""Normalised values are clamped to [-2.2, 2.2], whatever the normalisation."""
_AIM = 1000.0  # where feature 0 is pushed to
_PENALTY = 0.1  # of the mean square of the others
_PROBED = 8
"""Images at once, when features are tried for a gradient: as a rule the first few settle it."""

Piece = Float[Tensor, "_ 3 height width"]
"""Some of the images: pieces differ in number."""


def feature_loss(features: Float[Tensor, "batch features"]) -> Float[Tensor, ""]:
    """(f_0 - 1000)^2 + 0.1 * mean over j >= 1 of f_j^2, averaged over the batch; the attack minimises it.

    Source: the published code, *same*.
    """
    loss = (features[:, 0] - _AIM).square()
    if features.shape[1] > 1:
        loss = loss + _PENALTY * features[:, 1:].square().mean(1)
    return loss.mean()


def clip_bounds(
    config: AttackConfig, mean: Sequence[float], std: Sequence[float]
) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
    """Lowest and highest value per channel, in normalised space, that `config.clip` allows."""
    if config.clip == "published":
        return torch.full((3, 1, 1), -PUBLISHED_CLIP), torch.full((3, 1, 1), PUBLISHED_CLIP)
    means, deviations = torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1)
    return -means / deviations, (1 - means) / deviations


def attack(
    network: nn.Module,
    images: Images,
    config: AttackConfig,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Images:
    """Adversarial images that disturb the penultimate features of `network`.

    Source: SeaM section 5.4 and code, *same*: L-infinity projected gradient descent (advertorch),
    uniform random start, sign steps; the budget first, then the clip. *Differs*: seeded;
    `clip="valid"` is an option.

    Args:
        network: the source, on the device of `images`; neither its parameters nor its BatchNorm
            statistics change.
        images: normalised; never clamped inside the attacked forward (torch's clamp has no gradient
            at its bounds).
        config: budget, step and iterations in normalised space.
        mean: normalisation per channel, pixels in [0, 1].
        std: likewise.
        seed: of the random start; the global random state is left as it was.
        progress: called with the number of images done.

    Returns:
        Normalised images of the same shape.

    Warns:
        SuspectResultWarning: the features do not depend on the images, or there is only one.
    """
    features = PenultimateFeatures(network, images[:1])
    low, high = (bound.to(images.device).expand(images.shape[1:]) for bound in clip_bounds(config, mean, std))
    pgd = LinfPGDAttack(
        features,
        loss_fn=lambda outputs, labels: -feature_loss(outputs),  # advertorch ascends
        eps=config.eps_normalized,
        nb_iter=config.steps,
        eps_iter=config.step_normalized,
        rand_init=True,
        clip_min=low,
        clip_max=high,
        targeted=False,
    )
    batches = torch.split(images, config.batch_size)
    _warn_of_weak_features(features, torch.split(images, _PROBED))
    adversarial: list[Tensor] = []
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        torch.manual_seed(seed)
        for batch in batches:
            unused = torch.zeros(len(batch), dtype=torch.long, device=batch.device)
            adversarial.append(pgd.perturb(batch, unused))
            progress(sum(len(done) for done in adversarial))
    return torch.cat(adversarial)


def random_noise(
    images: Images, config: AttackConfig, mean: Sequence[float], std: Sequence[float], seed: int
) -> Images:
    """Images with uniform noise of the attack's budget and clip.

    What a model loses to such noise is no inherited defect.
    """
    low, high = (bound.to(images.device) for bound in clip_bounds(config, mean, std))
    generator = torch.Generator().manual_seed(seed)
    noise = torch.empty(images.shape).uniform_(-config.eps_normalized, config.eps_normalized, generator=generator)
    return torch.minimum(torch.maximum(images + noise.to(images.device), low), high)


def _warn_of_weak_features(features: PenultimateFeatures, batches: Sequence[Tensor]) -> None:
    """Warn when nothing, or not feature 0, can be moved by the images."""
    all_still = aim_still = True
    width = 0
    for batch in batches:
        inputs = batch.detach().clone().requires_grad_()
        outputs = features(inputs)
        width = outputs.shape[1]
        if outputs.requires_grad:
            (aim,) = torch.autograd.grad(outputs[:, 0].sum(), inputs, retain_graph=True, allow_unused=True)
            (loss,) = torch.autograd.grad(feature_loss(outputs), inputs, allow_unused=True)
            aim_still &= aim is None or not bool(aim.any())
            all_still &= loss is None or not bool(loss.any())
        if not aim_still and not all_still:
            break
    text = None
    if all_still:
        text = (
            "all gradients zero: the attack cannot move the source's features, the adversarial set is the clean one"
            " with random noise."
        )
    elif width < 2:
        text = (
            f"the source has {width} penultimate feature, the attack is made for many: its adversarial set may be weak."
        )
    elif aim_still:
        text = "the source's penultimate feature 0 is dead on these images: the attack can only shrink the others."
    if text is not None:
        warnings.warn(f"feature attack: {text}", SuspectResultWarning, stacklevel=3)


def describe_attack(
    pieces: Iterable[tuple[Piece, Piece]], config: AttackConfig, mean: Sequence[float], std: Sequence[float], seed: int
) -> dict[str, Any]:  # fmt: skip
    """Everything about an attack, its budgets in normalised and (per channel) in pixel space, pixels in [0, 1].

    Args:
        pieces: clean images and what the attack made of them, all of them or piece by piece.
        config: of the attack.
        mean: normalisation, per channel.
        std: likewise.
        seed: of the attack.

    Warns:
        SuspectResultWarning: the clip moved pixels beyond the budget, which is no attack.
    """
    images = changed = values = beyond = 0
    largest, moved = 0.0, torch.zeros(3, dtype=torch.float64)
    for clean, adversarial in pieces:
        delta = (adversarial - clean).abs()
        images, values = images + len(delta), values + delta.numel()
        changed += int(delta.flatten(1).any(1).sum())
        beyond += int((delta > config.eps_normalized + 1e-5).sum())
        largest = max(largest, float(delta.max()))
        moved += delta.double().sum((0, 2, 3)).cpu()
    low, high = (bound.flatten().tolist() for bound in clip_bounds(config, mean, std))
    if beyond:
        share = f"{beyond / values:.2%} of the pixel values"
        text = (
            f"the clip to [-2.2, 2.2] moved {share} beyond the budget, which no attack did; see"
            " evaluate_robustness.clip=valid."
        )
        warnings.warn(f"feature attack: {text}", SuspectResultWarning, stacklevel=2)
    return {
        "attack": "advertorch LinfPGDAttack on the source's penultimate features",
        "loss": f"(f_0 - {_AIM:g})^2 + {_PENALTY:g} * mean_(j>=1) f_j^2, minimised, mean over the batch",
        "advertorch_version": advertorch_version,
        "space": "normalised: (pixel / 255 - mean) / std",
        "mean": list(mean),
        "std": list(std),
        "eps_normalized": config.eps_normalized,
        "eps_pixel": [config.eps_normalized * s for s in std],
        "step_normalized": config.step_normalized,
        "step_pixel": [config.step_normalized * s for s in std],
        "steps": config.steps,
        "random_start": "uniform(-eps_normalized, eps_normalized)",
        "clip": config.clip,
        "clip_normalized": [list(pair) for pair in zip(low, high, strict=True)],
        "clip_pixel": [
            [m + s * bound for bound in pair] for m, s, pair in zip(mean, std, zip(low, high, strict=True), strict=True)
        ],
        "batch_size": config.batch_size,
        "seed": seed,
        "num_images": images,
        "share_images_changed": changed / images,
        "share_values_beyond_eps": beyond / values,
        "mean_abs_delta_normalized": float(moved.sum()) / values,
        "max_abs_delta_normalized": largest,
        "mean_abs_delta_pixel": [float(d) * len(std) / values * s for d, s in zip(moved, std, strict=True)],
    }
