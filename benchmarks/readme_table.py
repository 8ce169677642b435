"""Write README's table of the default problems from the results of a run: `artifacts/` of this project.

python benchmarks/readme_table.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from projects import ROOT

from seam.files import read_json, write_text
from seam.inference.engines import ENGINES, engines_that_take

BEGIN, END = "<!-- table -->\n", "<!-- /table -->"
PROBLEMS = {"shirt": "one class against the rest", "shoes": "sandal, sneaker, ankle-boot"}


def main() -> None:
    """Replace what stands between the marks."""
    path = ROOT / "README.md"
    before, rest = path.read_text().split(BEGIN)
    write_text(path, before + BEGIN + table(ROOT / "artifacts") + END + rest.split(END, 1)[1])


def table(artifacts: Path) -> str:
    """The lines of the table, in Markdown."""
    columns = [list(_column(artifacts / name)) for name in PROBLEMS]
    head = " | ".join(f"`{name}` ({words}) |" for name, words in PROBLEMS.items())
    lines = [f"| | {head} |", "|---|---|---|---|---|", "| | original | re-engineered | original | re-engineered |"]
    lines += [
        f"| {cells[0][0]} | {' | '.join(f'{before} | {after}' for _, before, after in cells)} |"
        for cells in zip(*columns, strict=True)
    ]
    return "\n".join(lines) + "\n"


def _column(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(what, original, re-engineered) of one problem, row by row."""
    evaluated = read_json(folder / "evaluate/metrics.json")
    attacked = read_json(folder / "evaluate_robustness/metrics.json")
    latency = read_json(folder / "benchmark_latency/metrics.json")
    models = ("source", "reengineered_finetuned")
    before, after = (evaluated[model] for model in models)
    weights = [entry["params_nonzero"] for entry in (before, after)]
    yield "weights", f"{weights[0]:,}", f"{weights[1]:,} ({_less(*weights, '.1%')})"
    macs = [entry["macs_nonzero"] for entry in (before, after)]
    yield "multiply-adds", f"{macs[0] / 1e6:.2f} M", f"{macs[1] / 1e6:.2f} M ({_less(*macs, '.1%')})"
    yield "test accuracy", *(f"{entry['accuracy']:.2%}" for entry in (before, after))
    yield "inherited defects (DIR)", *(f"{attacked[model]['defect_inheritance_rate']:.2%}" for model in models)
    for engine in engines_that_take("onnx"):
        times: list[Any] = [latency[engine][m]["batch16"]["latency_ms_p50"] for m in ("source", "compacted")]
        shown = f"{times[1]:.2f} ms ({_less(*times, '.0%')})"
        yield f"{ENGINES[engine].label}, batch 16", f"{times[0]:.2f} ms", shown


def _less(before: float, after: float, places: str) -> str:
    return f"{(after - before) / before:{places}}".replace("-", "−")


if __name__ == "__main__":
    main()
