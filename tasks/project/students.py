"""Students by name: a method of transfer, how much it removes, and a seed. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from seam.configs.methods import TransferConfig
from seam.errors import ConfigError
from seam.methods.catalogue import STUDENTS, Method, find


@dataclass(frozen=True)
class StudentName:
    """One student of a target data set."""

    method: str
    """As in `transfer.methods`: METHOD or METHOD-PERCENT."""
    seed: int

    @property
    def row(self) -> Method:
        """The method, in the catalogue."""
        return parse_method(self.method)[0]

    @property
    def base(self) -> str:
        """The method, without a percentage."""
        return self.row.name

    @property
    def key(self) -> str:
        """In DVC, behind `transfer@`."""
        return f"{self.method}-{self.seed}"

    @property
    def folder(self) -> str:
        """Below artifacts/TARGET/students/."""
        return f"{self.method}-seed{self.seed}"

    def __str__(self) -> str:
        return f"{self.method} seed {self.seed}"


def parse_method(text: str) -> tuple[Method, int | None]:
    """The method and the percentage of a name METHOD[-PERCENT].

    Raises:
        ConfigError: there is no such method, or no such percentage.
    """
    base, dash, percent = text.partition("-")
    method = find(base, STUDENTS, suffix=f"{dash}{percent}")
    if not dash:
        return method, None
    if method.removes is None:
        raise ConfigError(f"expected '{base}', which removes no weights, without a percentage, got '{text}'.")
    if not percent.isascii() or not percent.isdigit() or str(int(percent)) != percent or not 1 <= int(percent) <= 99:
        raise ConfigError(
            f"expected {base}-PERCENT with a whole number from 1 to 99, got '{text}'; for example {base}-50."
        )
    return method, int(percent)


def config_of(method: str, config: TransferConfig) -> TransferConfig:
    """The numbers of one method: a percentage in its name is the share that it removes.

    Args:
        method: METHOD[-PERCENT].
        config: where the name has no percentage, the share is that of this.
    """
    row, percent = parse_method(method)
    return config if percent is None else row.with_removal(config, percent / 100)


def asked_removal(method: str, config: TransferConfig) -> float:
    """The share of the convolutions' weights that a method is asked to remove, in [0, 1)."""
    return parse_method(method)[0].removal_of(config_of(method, config))
