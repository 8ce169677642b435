"""Workers of one machine share its cores; one process leads."""

import os

import pytest

from flows.sweeps.cluster import ClusterError, only_one, shares_of_cores
from tests.drill.town import SEAM
from tests.flows.small_project import call


@pytest.mark.parametrize(
    ("cores", "workers", "shares"),
    [
        ({0, 1}, 0, [[0, 1]]),
        ({0}, 0, [[0]]),
        (set(range(8)), 0, [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ({2, 5, 7}, 2, [[2, 7], [5]]),
        ({3, 4}, 3, [[3], [4], [3]]),
    ],
)
def test_every_worker_has_cores_and_without_a_number_there_is_one_for_two(monkeypatch, cores, workers, shares):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    assert shares_of_cores(workers) == shares


def test_a_second_process_is_told_that_one_leads(tmp_path):
    with only_one(tmp_path, "sweep-a", "sweep a"):
        second = only_one(tmp_path, "sweep-a", "sweep a")
        with pytest.raises(ClusterError, match="sweep a goes on in another process"), second:
            pass
        with only_one(tmp_path, "sweep-b", "sweep b"):
            pass
    with only_one(tmp_path, "sweep-a", "sweep a"):
        pass


def test_a_worker_outside_a_clone_is_refused_in_a_line(tmp_path):
    done = call(tmp_path, *SEAM, "worker", "--scheduler", "tcp://127.0.0.1:1", "--folder", str(tmp_path), ok=False)
    assert done.returncode == 1
    assert "expected a clone of the project" in done.stderr
    assert "Traceback" not in done.stderr
