"""Target problems: which classes of the source make up the task that the re-engineered network must solve."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seam.errors import DataError

IntArray = npt.NDArray[np.int64]
MOST_SPARE = 5
"""Left-over negatives of a binary problem that are kept, as a multiple of its training images: enough
variety, and a bound on memory."""


@dataclass(frozen=True)
class TargetProblem:
    """A classification task over some classes of the source.

    One class makes a binary problem (that class against the rest, label 0 = target, 1 = "other";
    Source: SeaM section 4.1, *same*); several classes make a multi-class problem over them,
    labelled in the order of the source.
    """

    name: str
    source_classes: tuple[str, ...]
    """Every class of the source, in the order of its logits."""
    target_indices: tuple[int, ...]
    """Indices into `source_classes`, ascending."""

    @classmethod
    def of(cls, name: str, wanted: Sequence[str], source_classes: Sequence[str]) -> TargetProblem:
        """The problem over the classes named in `wanted` ("all" alone: every class).

        Raises:
            DataError: a class the source does not have, a class named twice, or no class.
        """
        names = (
            list(source_classes)
            if list(wanted) == ["all"] and "all" not in source_classes
            else [str(w) for w in wanted]
        )
        for w in names:
            if w not in source_classes:
                close = difflib.get_close_matches(w, source_classes, n=1)
                hint = f"did you mean '{close[0]}'?" if close else f"use one of: {_shorten(source_classes)}."
                raise DataError(f"problem '{name}': unknown class '{w}', expected a class of the data set; {hint}")
        if len(set(names)) != len(names):
            raise DataError(f"problem '{name}': every class must be named once, got {names}.")
        if not names:
            raise DataError(f"problem '{name}': expected at least one class, got none; list class names, or [all].")
        if len(names) == 1 and len(source_classes) < 2:
            raise DataError(
                f"problem '{name}': the data set has the single class '{names[0]}', there is nothing to tell it from."
            )
        return cls(name, tuple(source_classes), tuple(sorted(source_classes.index(n) for n in names)))

    @property
    def is_binary(self) -> bool:
        """Whether this is one class against the rest."""
        return len(self.target_indices) == 1

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the target labels 0, 1, ..."""
        names = tuple(self.source_classes[i] for i in self.target_indices)
        return (*names, "other") if self.is_binary else names

    @property
    def num_classes(self) -> int:
        """Number of target labels."""
        return len(self.classes)

    def target_labels(self, labels: IntArray) -> IntArray:
        """Target labels of images whose source labels are `labels`; -1 where an image is not part of the problem."""
        lookup = np.full(len(self.source_classes), 1 if self.is_binary else -1, dtype=np.int64)
        lookup[list(self.target_indices)] = np.arange(len(self.target_indices))
        return lookup[labels]

    def select(self, labels: IntArray, indices: IntArray, seed: int) -> IntArray:
        """The images of the problem among `indices`, ascending.

        A binary problem takes as many negatives as positives, drawn from the other classes as
        evenly as they allow (*differs* from the original code, which draws them unstratified).

        Args:
            labels: source label of every image of the split's array.
            indices: candidates, indices into `labels`.
            seed: of the draw of negatives.
        """
        wanted = labels[indices]
        positives = indices[np.isin(wanted, self.target_indices)]
        if not self.is_binary:
            return np.sort(positives)
        rng = np.random.default_rng(seed)
        others = [i for i in range(len(self.source_classes)) if i not in self.target_indices]
        shuffled = {c: rng.permutation(indices[wanted == c]) for c in others}
        ranks = np.concatenate([np.arange(len(shuffled[c])) for c in others])
        pool = np.concatenate([shuffled[c] for c in others])
        order = np.lexsort((rng.permutation(len(pool)), ranks))  # the first of every class, then the second, ...
        return np.sort(np.concatenate([positives, pool[order[: len(positives)]]]))

    def training_rows(self, labels: IntArray, available: IntArray, seed: int) -> tuple[IntArray, IntArray]:
        """The images to train on, and the negatives of a binary problem that the draw for them left over.

        Args:
            labels: source label of every image.
            available: indices of those that may be trained on.
            seed: of both draws.

        Returns:
            As of `select`; and others, ascending, at most `MOST_SPARE` times as many, none where the
            problem is not binary.
        """
        train = self.select(labels, available, seed)
        others = np.isin(labels[available], self.target_indices, invert=True) & self.is_binary
        left_over = np.setdiff1d(available[others], train)
        drawn = np.random.default_rng(seed).permutation(left_over)
        return train, np.sort(drawn[: MOST_SPARE * len(train)])


def _shorten(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, ... ({len(names)} classes)"
