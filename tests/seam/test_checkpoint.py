"""What a computation depends on, by content."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from torch import nn

from seam.checkpoint import fingerprint


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, 5, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_fingerprint_is_the_hash_of_type_shape_and_bytes() -> None:
    expected = hashlib.sha256(b'["int16", [2]]' + bytes([1, 0, 2, 0])).hexdigest()
    assert fingerprint(torch.tensor([1, 2], dtype=torch.int16)) == expected
    named = json.dumps(["a"]).encode() + b'["bool", []]' + bytes([1])
    assert fingerprint({"a": torch.tensor(True)}) == hashlib.sha256(named).hexdigest()


def test_what_has_the_same_sums_has_another_fingerprint(images: torch.Tensor) -> None:
    labels = torch.tensor([0, 1, 0, 1])
    swapped = 1 - labels
    others = [
        fingerprint(images.flip(2), labels),  # mirrored
        fingerprint(images.flip(0), labels),  # in another order
        fingerprint(images, swapped),
        fingerprint(labels, images),
        fingerprint(images.view(4, 5, 3, 1), labels),
        fingerprint(images.view(torch.int8), labels),
        fingerprint(images, labels.float()),
        fingerprint(images),
    ]
    assert int(swapped.sum()) == int(labels.sum())
    assert len({fingerprint(images, labels), *others}) == 1 + len(others)


def test_where_values_lie_makes_no_difference(images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fingerprint(images)
    assert fingerprint(images.numpy()) == fingerprint(np.asfortranarray(images.numpy())) == whole
    assert fingerprint(images.transpose(0, 1).contiguous().transpose(0, 1)) == whole
    monkeypatch.setattr("seam.checkpoint._PIECE", 7)
    assert fingerprint(images) == whole


def test_weights_are_known_by_name_and_value() -> None:
    state = nn.Linear(3, 2).state_dict()
    negated = {name: -tensor for name, tensor in state.items()}
    renamed = {f"layer.{name}": tensor for name, tensor in state.items()}
    assert len({fingerprint(some) for some in (state, negated, renamed)}) == 3
    assert fingerprint({name: tensor.clone() for name, tensor in state.items()}) == fingerprint(state)


def test_no_values_and_no_tensors_are_known_too() -> None:
    assert len({fingerprint(), fingerprint({}), fingerprint(torch.empty(0)), fingerprint(torch.empty(0, 2))}) == 4
    assert fingerprint(torch.zeros(2, dtype=torch.bfloat16)) != fingerprint(torch.zeros(2, dtype=torch.float16))
