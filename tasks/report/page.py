"""Pages that people read: figures, values, and how a template becomes one HTML file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks.report import figures
from tasks.report.words import NOTHING


@dataclass(frozen=True)
class Plot:
    """One figure of a report."""

    name: str
    """File name, and prefix of its ids."""
    title: str
    caption: str
    """What it shows in words, for those who cannot see it too."""
    draw: figures.Draw

    @cached_property
    def svg(self) -> str:
        """The drawing, a file of its own."""
        return figures.to_svg(self.draw)


def render(template: str, drawn: Sequence[Plot], **values: Any) -> str:
    """A page from a template beside this file; `figures` in it are the plots with their elements."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["shown"] = shown_value
    shown = [(plot, Markup(figures.inline(plot.svg, plot.name, f"{plot.title}. {plot.caption}"))) for plot in drawn]
    return environment.get_template(template).render(figures=shown, nothing=NOTHING, **values)


def shown_value(value: Any) -> str:
    """A value as a person reads it."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
