"""One network among those to choose from: what it makes of the images, what it costs, what it exposes; kept on disk."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seam.checkpoint import digest_of, fingerprint, load_state, save_state
from seam.configs.defects import AttackConfig
from seam.configs.inference import ProfileConfig
from seam.configs.selection import SelectConfig
from seam.door.arguments import Wanted, own_copy
from seam.door.asked import Images, outputs_of
from seam.door.given import Labelled
from seam.door.normalisation import normalised
from seam.errors import ExportError, SuspectResultWarning
from seam.hardware import describe
from seam.inference.export import write_unchecked
from seam.inference.variants import InputSpec, Variant
from seam.measures.findings import one_line
from seam.measures.macs import count
from seam.measures.transferability.estimates import Estimated, estimate
from seam.measures.transferability.exposure import exposure
from seam.measures.transferability.probe import Probe, fit
from seam.measures.transferability.sample import drawn
from seam.measures.transferability.seen import Seen, look
from seam.search.profile import times_of

Step = Callable[[float, str], None]
"""Told the share done, in [0, 1], and of what."""
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A trained network that may be chosen, which is loaded when its turn comes."""

    load: Callable[[], nn.Module]
    mean: Sequence[float] | None = None
    """Of pixels in [0, 1], that it was trained with; None: those of the call."""
    std: Sequence[float] | None = None
    origin: str = UNKNOWN
    """Where its weights come from."""
    licence: str = UNKNOWN
    public: bool | None = None
    """Whether anybody can have the same weights, and so attack a student through them; None: not known."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is known of one candidate; of one that could not be judged, why."""

    name: str
    reason: str | None = None
    """Why it could not be judged; None: it was."""
    estimates: Mapping[str, float] | None = None
    """By the names of `seam.measures.transferability.estimates`."""
    probe_interval: tuple[float, float] | None = None
    """95%, of the linear probe's accuracy."""
    likely_best: float | None = None
    """How likely it is the best of all by the estimate that orders them, were other images drawn."""
    params_total: int | None = None
    macs: int | None = None
    """Multiply-adds of one image."""
    latency_ms_p50: float | None = None
    """Of a call of the profile's batch; None: not measured."""
    exposure: float | None = None
    """Of the linear probe's right answers, the share that an attack on this network's features takes;
    None: not measured."""
    public: bool | None = None
    licence: str = UNKNOWN
    origin: str = UNKNOWN
    normalisation: str = ""
    notes: tuple[str, ...] = ()
    """What could not be measured, and doubts."""

    def to_dict(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Judge:
    """Judges one candidate after the other, by what is the same for all of them."""

    images: Labelled
    """Those that are looked at."""
    wanted: Wanted
    config: SelectConfig
    profile: ProfileConfig
    """Of the timing."""
    folder: Path | None
    """Where what was computed is kept, by what it was computed from; None: nowhere."""

    def judged(self, name: str, candidate: Candidate, on_step: Step) -> tuple[Choice, Estimated]:
        """Judge one.

        Raises:
            SeamError: it cannot be read, or does not take the images.
        """
        network = own_copy(candidate.load())
        images = self._as_taken(network, candidate)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SuspectResultWarning)
            outputs_of(network, images)
        key = self._key(network, images)
        seen = self._seen(network, images, key, lambda share: on_step(0.4 * share, f"{name}: images"))
        on_step(0.4, f"{name}: estimates")
        found = self._estimated(seen, key)
        on_step(0.6, f"{name}: cost")
        cost = self._kept("cost", [*key, asdict(self.profile), describe()], lambda: self._cost(network, images))
        on_step(0.8, f"{name}: attack")
        exposed = self._kept("exposure", key, lambda: self._exposed(network, images, seen, found.probe.strength))
        choice = Choice(
            name=name,
            estimates=found.values,
            probe_interval=found.probe.interval,
            params_total=cost["params_total"],
            macs=cost["macs"],
            latency_ms_p50=cost["latency_ms_p50"],
            exposure=exposed["exposure"],
            public=candidate.public,
            licence=candidate.licence,
            origin=candidate.origin,
            normalisation=images.normalisation,
            notes=tuple(cost["notes"]),
        )
        return choice, found

    def _as_taken(self, network: nn.Module, candidate: Candidate) -> Images:
        own = candidate.mean is not None and self.images.as_stored
        wanted = replace(self.wanted, mean=candidate.mean, std=candidate.std) if own else self.wanted
        images = Images(self.images, self.images, nn.Identity(), "", carved=False)
        return normalised(network, images, wanted, on_val=False)

    def _key(self, network: nn.Module, images: Images) -> list[Any]:
        """Everything that what is computed of a network depends on."""
        data = images.train.data
        tensors = [network.state_dict(), images.preprocess.state_dict(), data.images, data.labels]
        return [fingerprint(*tensors), repr(network), asdict(self.config), self.wanted.seed]

    def _seen(self, network: nn.Module, images: Images, key: list[Any], on_share: Callable[[float], None]) -> Seen:
        data = images.train.data

        def made() -> tuple[dict[str, Tensor], dict[str, Any]]:
            return vars(look(network, data.images, images.preprocess, lambda done: on_share(done / len(data)))), {}

        return Seen(**self._state("seen", key, made)[0])

    def _estimated(self, seen: Seen, key: list[Any]) -> Estimated:
        def made() -> tuple[dict[str, Tensor], dict[str, Any]]:
            found = estimate(seen, self.images.data.labels, self.config.folds, self.wanted.seed)
            own = {"right": found.probe.right, "log_likelihood": found.probe.log_likelihood}
            return {**found.by_image, **own}, {"values": found.values, "strength": found.probe.strength}

        tensors, known = self._state("estimates", key, made)
        right = Probe(tensors.pop("right"), tensors.pop("log_likelihood"), known["strength"])
        return Estimated(known["values"], tensors, right)

    def _cost(self, network: nn.Module, images: Images) -> dict[str, Any]:
        example, notes = images.example.cpu(), list[str]()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SuspectResultWarning)
            found = count(network, example)
        notes += [str(w.message) for w in caught if issubclass(w.category, SuspectResultWarning)]
        latency = None
        if self.config.milliseconds:
            try:
                latency = milliseconds(network, example, self.profile, self.wanted.seed)
            except ExportError as e:
                notes.append(f"not timed: {e.what}")
        return {
            "params_total": found.params_total,
            "macs": found.macs_nonzero,
            "latency_ms_p50": latency,
            "notes": notes,
        }

    def _exposed(self, network: nn.Module, images: Images, seen: Seen, strength: float) -> dict[str, Any]:
        labels, data = self.images.data.labels, images.train.data
        most = min(self.config.attacked, len(labels) // 4)  # the rest teaches the student
        if not most:
            return {"exposure": None}
        chosen = drawn(data.images, labels, most, self.wanted.seed)
        rest = torch.ones(len(labels), dtype=torch.bool)
        rest[chosen] = False
        classes = int(labels.max()) + 1
        (student,) = fit(seen.features[rest].double(), labels[rest], classes, (strength,)).values()
        steps, budget = self.config.attack_steps, AttackConfig().eps_normalized
        config = AttackConfig(steps=steps, step_normalized=2.5 * budget / steps)
        some = images.preprocess(data.images[chosen])
        return {"exposure": exposure(network, some, labels[chosen], student, config, self.wanted.seed)}

    def _kept(self, kind: str, key: list[Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return self._state(kind, key, lambda: ({}, make()))[1]

    def _state(
        self, kind: str, key: list[Any], make: Callable[[], tuple[Mapping[str, Tensor], dict[str, Any]]]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What is kept under a key; made, and kept, where there is nothing."""
        digest = digest_of(kind, *key)
        path = None if self.folder is None else self.folder / f"{kind}-{digest[:32]}.safetensors"
        known = None if path is None else load_state(path, digest)
        if known is not None:
            return known
        tensors, values = make()
        if path is not None:
            save_state(path, digest, tensors, values)
        return dict(tensors), values


def milliseconds(network: nn.Module, example: Tensor, profile: ProfileConfig, seed: int) -> float:
    """Median time of a call, of the network as it is, on the engine of the profile.

    Raises:
        ExportError: it does not export to ONNX, or the engine cannot run it.
    """
    with tempfile.TemporaryDirectory() as scratch, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is deprecated
        path = Path(scratch) / "network.onnx"
        try:
            write_unchecked(network, example[:1], path)
        except Exception as e:  # the exporter raises many kinds, none its own
            raise ExportError(f"it does not export to ONNX, {type(e).__name__}: {one_line(e)}") from e
        takes = InputSpec(tuple(example.shape[1:]))
        times = times_of({"network": Variant(path, network)}, takes, profile, profile.repeats, seed)
    return float(times["network"]["latency_ms_p50"])
