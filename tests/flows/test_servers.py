"""The team's servers for real: PostgreSQL, S3, MLflow and Prefect on loopback, their backup, a loss, the restore."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest

from flows.commands.doctor import find_servers
from flows.registry_view import has_running_runs, registered_model
from flows.servers import buckets
from flows.servers.backup import make_backup
from flows.servers.cluster import connected
from flows.servers.programs import postgres_server, supervisord, weed
from flows.servers.restore import restore_backup
from flows.servers.settings import BUCKETS, DATABASES, INNER, PORTS, ServersError, Settings, read_settings
from flows.servers.supervision import states
from tasks.project.stage import StageContext
from tasks.register_model import register_model
from tasks.tracking.runs import finish_run, open_run
from tasks.tracking.store import connect
from tests.drill.storm import Storm
from tests.processes import exit_statuses
from tests.registry_project import make_registry_project, register_there

SEAM = [sys.executable, "-m", "flows.cli"]
REMOTE_FILE = b"bytes of a result"


def missing() -> str:
    try:
        postgres_server(), weed(), supervisord()
    except ServersError as e:
        return str(e)
    packages = [name for name in ("boto3", "psycopg2", "dvc_s3") if importlib.util.find_spec(name) is None]
    return f"{', '.join(packages)} not installed (make servers-install)" if packages else ""


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]


def free_ports() -> int:
    """The first of as many consecutive ports as the servers need, which are free 10,000 above, too."""
    for first in range(20_000 + os.getpid() % 9_000, 40_000, 10):
        wanted = [port + more for port in range(first, first + len(PORTS)) for more in (0, INNER)]
        if not any(taken(port) for port in wanted):
            return first
    raise AssertionError("no free ports")


def taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def seam(root: Path, *words: str, ok: bool = True) -> str:
    done = subprocess.run([*SEAM, *words], cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode == 0) == ok, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def dvc(root: Path, *words: str) -> None:
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def projects(folder: Path) -> tuple[StageContext, StageContext]:
    """One problem, ready to be registered, as two machines have it."""
    store = folder / "unused.db"
    store.touch()
    first = make_registry_project(folder / "here", store)
    (first.root / "dvc.yaml").write_text("stages: {}\n")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=first.root, check=True, capture_output=True)
    shutil.copytree(first.root, folder / "there")
    return first, replace(first, root=folder / "there")


@pytest.fixture(scope="module")
def here_and_there() -> Iterator[tuple[StageContext, StageContext]]:
    """Two projects that use servers that run; pytest's folders would shut out the account of root's PostgreSQL."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        folder.chmod(0o711)
        patch.setenv("SEAM_SERVERS", str(folder / "servers"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("PREFECT_API_URL", raising=False)
        found = projects(folder)
        try:
            said = seam(found[0].root, "servers", "start", "--first-port", str(free_ports()))
            assert str(folder / "servers/client.sh") in said
            patch.setenv("MLFLOW_TRACKING_URI", read_settings(folder / "servers").mlflow_url)
            patch.setenv("PREFECT_API_URL", read_settings(folder / "servers").prefect_url)
            yield found
        finally:
            mlflow.set_tracking_uri(None)  # MLflow remembers it for the whole process, past these servers
            seam(found[0].root, "servers", "stop")
        assert "Connection refused" in states(read_settings(folder / "servers"))["postgres"]


@pytest.fixture
def here(here_and_there: tuple[StageContext, StageContext]) -> StageContext:
    return here_and_there[0]


@pytest.fixture
def settings(here: StageContext) -> Settings:
    return read_settings(Path(os.environ["SEAM_SERVERS"]))


def test_secrets_are_ours_alone_and_a_second_start_changes_nothing(here: StageContext, settings: Settings) -> None:
    for path in (settings.folder / "settings.env", settings.folder / "s3.json", settings.folder / "supervisord.conf"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((here.root / ".dvc/config.local").stat().st_mode) == 0o600
    pid = (settings.folder / "supervisord.pid").read_text()
    assert settings.mlflow_url in seam(here.root, "servers", "start")
    assert (settings.folder / "supervisord.pid").read_text() == pid
    assert read_settings(settings.folder) == settings
    assert "answers" in seam(here.root, "servers", "status")
    assert [f.missing for f in find_servers(here.root)] == [""] * len(list(find_servers(here.root)))


def test_a_bucket_opens_with_its_own_key_alone(settings: Settings) -> None:
    for who, other in zip(BUCKETS, reversed(BUCKETS), strict=True):
        with buckets.opened(settings, who) as client:
            client.put_object(Bucket=who, Key="mine", Body=b"1")
            client.delete_object(Bucket=who, Key="mine")
        with pytest.raises(ServersError, match="Access"), buckets.opened(settings, who) as client:
            client.put_object(Bucket=other, Key="not-mine", Body=b"1")
        with buckets.opened(settings, buckets.READER) as client:
            assert list(buckets.objects(client, who)) == []
        with pytest.raises(ServersError, match="Access"), buckets.opened(settings, buckets.READER) as client:
            client.put_object(Bucket=who, Key="not-mine", Body=b"1")


def test_four_processes_make_the_tables_of_a_fresh_database(here: StageContext, settings: Settings) -> None:
    with connected(settings) as cursor:
        cursor.execute("CREATE DATABASE fresh OWNER mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", settings.database_url("mlflow").rpartition("/")[0] + "/fresh")
        assert exit_statuses([(connect, (here.root,))] * 4) == [0] * 4


def test_registered_at_once_from_two_machines_is_one_version(
    here_and_there: tuple[StageContext, StageContext], settings: Settings
) -> None:
    here, there = here_and_there
    assert exit_statuses([(register_there, (project.root,)) for project in (here, there)]) == [0, 0]
    found = registered_model(settings.mlflow_url, "seam-zero")
    assert found is not None
    assert found.aliases == {"champion": found.versions[0]}
    assert len(found.versions) == 1


def test_a_run_going_on_is_seen_without_mlflow(here: StageContext, settings: Settings) -> None:
    run = open_run(here)
    assert has_running_runs(settings.mlflow_url, "seam")
    finish_run(connect(here.root), run)
    assert not has_running_runs(settings.mlflow_url, "seam")


def test_a_killed_server_comes_back(settings: Settings) -> None:
    os.kill(int((settings.folder / "postgres/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    deadline = time.monotonic() + 60
    while states(settings)["postgres"] or registered_model(settings.mlflow_url, "seam-zero") is None:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def champion_says() -> list[float]:
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    return list(mlflow.pyfunc.load_model("models:/seam-zero@champion").predict(images)["probability"])


def lose_everything(settings: Settings) -> None:
    with connected(settings) as cursor:
        for name in DATABASES:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
            cursor.execute(f"CREATE DATABASE {name} OWNER {name}")
    with buckets.opened(settings) as client:
        for bucket in BUCKETS:
            for found in list(buckets.objects(client, bucket)):
                client.delete_object(Bucket=bucket, Key=found["key"])
            assert not list(buckets.objects(client, bucket))


def test_all_is_lost_and_restored(here: StageContext, settings: Settings) -> None:
    register_model(here)
    (here.root / "result.bin").write_bytes(REMOTE_FILE)
    dvc(here.root, "add", "-q", "result.bin")
    dvc(here.root, "push", "-q", "-r", "servers")
    said = champion_says()
    seam(here.root, "servers", "backup")
    _, words = make_backup(settings, settings.folder / "backups")
    assert "1 runs, 1 versions of models" in words  # not those of the queue, which are deleted
    first, second = sorted((settings.folder / "backups").iterdir())
    files = [sorted(path for path in backup.rglob("*") if path.is_file()) for backup in (first, second)]
    shared = {path.stat().st_ino for path in files[0]} & {path.stat().st_ino for path in files[1]}
    assert len(shared) == len(files[0]) - 3  # all but both dumps and the list
    assert not [
        secret
        for path in files[1]
        for secret in settings.values.values()
        if len(secret) > 20 and secret.encode() in path.read_bytes()
    ]

    lose_everything(settings)
    dump = first / "mlflow.dump"
    dump.write_bytes(dump.read_bytes()[:-1] + b"?")
    with pytest.raises(ServersError, match="damaged"):
        restore_backup(settings, first, replace=False)
    assert "1 models asked" in seam(here.root, "servers", "restore", str(second))
    assert champion_says() == said
    for path in (here.root / "result.bin", here.root / ".dvc/cache"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    dvc(here.root, "pull", "-q", "-r", "servers")
    assert (here.root / "result.bin").read_bytes() == REMOTE_FILE

    with pytest.raises(ServersError, match="--replace"):
        restore_backup(settings, second, replace=False)
    assert champion_says() == said


def test_a_short_storm(here: StageContext, settings: Settings, tmp_path: Path) -> None:
    """Many register at once, some are killed, one reads the champion all the time; `make storm` is the long form."""
    storm = Storm(tmp_path, settings.mlflow_url, processes=4, registrations=3, results=6)
    assert storm.rage(share_killed=0.5, most_kills=3) == [], storm.said()
