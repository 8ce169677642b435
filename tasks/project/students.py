"""Students by name: a method of transfer, how much it removes, and a seed. No torch here."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace

from seam.configs.methods import TransferConfig
from seam.errors import ConfigError

METHODS = ("standard", "seam", "remos", "magnitude", "random_mask", "retrain")
"""Those of `seam.methods`, in the order in which results are listed."""
REMOVING = ("seam", "remos", "magnitude", "random_mask")
"""Methods that remove weights, and so may be given a percentage."""


@dataclass(frozen=True)
class StudentName:
    """One student of a target data set."""

    method: str
    """As in `transfer.methods`: METHOD or METHOD-PERCENT."""
    seed: int

    @property
    def base(self) -> str:
        """The method, one of `METHODS`."""
        return parse_method(self.method)[0]

    @property
    def key(self) -> str:
        """In DVC, behind `transfer@TARGET-`."""
        return f"{self.method}-{self.seed}"

    @property
    def folder(self) -> str:
        """Below artifacts/TARGET/students/."""
        return f"{self.method}-seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.method} seed {self.seed}"


def parse_method(text: str) -> tuple[str, int | None]:
    """The method and the percentage of a name METHOD[-PERCENT].

    Raises:
        ConfigError: there is no such method, or no such percentage.
    """
    base, dash, percent = text.partition("-")
    if base not in METHODS:
        close = difflib.get_close_matches(base, METHODS, n=1)
        hint = f"did you mean '{close[0]}{dash}{percent}'?" if close else "for example seam or seam-50."
        raise ConfigError(f"expected a method, one of {', '.join(METHODS)}, got '{text}'; {hint}")
    if not dash:
        return base, None
    if base not in REMOVING:
        raise ConfigError(f"expected '{base}', which removes no weights, without a percentage, got '{text}'.")
    if not percent.isascii() or not percent.isdigit() or str(int(percent)) != percent or not 1 <= int(percent) <= 99:
        raise ConfigError(
            f"expected {base}-PERCENT with a whole number from 1 to 99, got '{text}'; for example {base}-50."
        )
    return base, int(percent)


def config_of(method: str, config: TransferConfig) -> TransferConfig:
    """The numbers of one method: a percentage in its name is the share that it removes.

    Args:
        method: METHOD[-PERCENT].
        config: where the name has no percentage, the share is that of this.
    """
    base, percent = parse_method(method)
    if percent is None:
        return config
    if base == "remos":
        return replace(config, remos=replace(config.remos, ratio=percent / 100))
    return replace(config, removal=percent / 100)


def asked_removal(method: str, config: TransferConfig) -> float:
    """The share of the convolutions' weights that a method is asked to remove, in [0, 1)."""
    own = config_of(method, config)
    base, _ = parse_method(method)
    if base not in REMOVING:
        return 0.0
    return own.remos.ratio if base == "remos" else own.removal
