"""The buckets of the S3 server, one for MLflow's artifacts and one for DVC's store; who may open them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.servers.programs import INSTALL
from flows.servers.settings import BUCKETS, ServersError, Settings

REGION = "us-east-1"
ADMIN = "admin"
READER = "reader"


def identities(settings: Settings) -> str:
    """The S3 server's own file of keys.

    The administrator's, one for each bucket that opens this bucket alone, and one that reads all.
    """
    allowed = {ADMIN: ["Admin"]}
    allowed |= {bucket: [f"{may}:{bucket}" for may in ("Read", "Write", "List", "Tagging")] for bucket in BUCKETS}
    allowed[READER] = [f"{may}:{bucket}" for bucket in BUCKETS for may in ("Read", "List")]
    found = [
        {"name": who, "credentials": [{"accessKey": who, "secretKey": secret(settings, who)}], "actions": actions}
        for who, actions in allowed.items()
    ]
    return json.dumps({"identities": found}, indent=2) + "\n"


def secret(settings: Settings, who: str) -> str:
    """The secret key of the administrator or a bucket; the access key is the name."""
    return settings.values[f"S3_{who.upper()}_SECRET"]


@contextmanager
def opened(settings: Settings, who: str = ADMIN) -> Iterator[Any]:
    """A client of the S3 server.

    Raises:
        ServersError: it does not answer, or refuses.
    """
    try:
        boto3, botocore = importlib.import_module("boto3"), importlib.import_module("botocore.exceptions")
        config = importlib.import_module("botocore.config").Config(
            connect_timeout=3, read_timeout=60, retries={"max_attempts": 2}, s3={"addressing_style": "path"}
        )
    except ImportError as e:
        raise ServersError(f"boto3: expected the package, found none; {INSTALL}.") from e
    try:
        yield boto3.client(
            "s3",
            endpoint_url=settings.s3_url,
            region_name=REGION,
            aws_access_key_id=who,
            aws_secret_access_key=secret(settings, who),
            config=config,
        )
    except (botocore.BotoCoreError, botocore.ClientError) as e:
        raise ServersError(f"S3 at {settings.s3_url}: {' '.join(str(e).split())}; `make servers` starts it.") from e


def make_buckets(settings: Settings) -> None:
    """Make those that are missing."""
    with opened(settings) as client:
        have = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        for bucket in BUCKETS:
            if bucket not in have:
                client.create_bucket(Bucket=bucket)


def objects(client: Any, bucket: str) -> Iterator[dict[str, Any]]:
    """Key, size and ETag of each object of a bucket."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            if not found["Key"].endswith("/"):  # a folder, which is no object
                yield {"key": found["Key"], "size": found["Size"], "etag": found["ETag"].strip('"')}
