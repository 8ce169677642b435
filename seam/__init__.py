"""SeaM: re-engineer a trained network so that only the weights a target problem needs remain."""

__version__ = "0.1.0"
