"""The numbers of a transfer."""

from __future__ import annotations

import pytest

from seam.configs.methods import RemosConfig, TransferConfig
from seam.configs.search import TransferSearchConfig
from seam.configs.training import StudentTraining


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TransferConfig(removal=1.0), r"removal must be in \[0, 1\), got 1.0"),
        (lambda: RemosConfig(ratio=0.0), r"ratio must be in \(0, 1\), got 0.0"),
        (lambda: StudentTraining(spatial_dropout=1.0), "spatial_dropout must be"),
        (lambda: StudentTraining(label_smoothing=-0.1), "label_smoothing must be"),
        (lambda: TransferSearchConfig(rounds=0), "rounds must be >= 1, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
