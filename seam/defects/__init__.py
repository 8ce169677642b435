"""Defects a model inherits from its source: attacks, backdoors, and their rates."""
