"""Jobs in processes of one thread each, and what is left of them."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from duel.jobs import Job, run


def run_all(jobs: Sequence[Job], folder: Path, workers: int) -> None:
    """Do the jobs that have no card yet; a line on each, with the time left."""
    waiting = [job for job in jobs if job.card() is None]
    print(f"{len(jobs)} trainings, {len(jobs) - len(waiting)} of them done before", flush=True)
    if not waiting:
        return
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(waiting)), mp_context=context) as pool:
        futures = {pool.submit(run, job, folder): job for job in waiting}
        try:
            for number, future in enumerate(as_completed(futures), 1):
                left = (time.monotonic() - started) / number * (len(waiting) - number) / 60
                text = said(future.result())
                print(f"[{number}/{len(waiting)}] {futures[future].name}: {text}; {left:.0f} min left", flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def said(card: dict[str, Any]) -> str:
    """One line on a job."""
    for kind in ("absent", "no_layout", "failed"):
        if kind in card:
            return f"{kind.replace('_', ' ')}: {card[kind]}"
    doubts = f", {', '.join(card['doubts'])}" if card["doubts"] else ""
    seconds = f"{card['cpu_seconds']:.0f} CPU seconds" if card["cpu_seconds"] is not None else card["device"]
    return f"val {card['val_accuracy']:.1%}, {seconds}{doubts}"
