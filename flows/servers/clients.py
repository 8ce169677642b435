"""What points a project at the servers: variables for a shell, a remote for DVC."""

from __future__ import annotations

from pathlib import Path

from flows.servers import buckets
from flows.servers.settings import Settings, write_private

REMOTE = "servers"
"""Of DVC; not the default one until somebody says so, since it starts empty."""


def write_variables(settings: Settings) -> Path:
    """Write `client.sh` of the servers' folder, which `env.sh` reads; what is set already stays."""
    path = settings.folder / "client.sh"
    given = {"MLFLOW_TRACKING_URI": settings.mlflow_url, "PREFECT_API_URL": settings.prefect_url}
    lines = [f'export {name}="${{{name}:-{value}}}"\n' for name, value in given.items()]
    write_private(path, "# source client.sh : the servers of this folder; `env.sh` does.\n" + "".join(lines))
    return path


def add_remote(settings: Settings, root: Path) -> None:
    """Name the DVC store on the S3 server in `.dvc/config.local`, which Git ignores and others cannot read."""
    from dvc.repo import Repo

    remote = {
        "url": "s3://dvc",
        "endpointurl": settings.s3_url,
        "access_key_id": "dvc",
        "secret_access_key": buckets.secret(settings, "dvc"),
        "region": buckets.REGION,
    }
    path = root / ".dvc/config.local"
    if not path.exists():
        write_private(path, "")
    path.chmod(0o600)
    with Repo(str(root)) as repo, repo.config.edit("local") as config:
        config.setdefault("remote", {})[REMOTE] = remote
