"""Serve a registered model: `python -m tasks.serving models:/NAME@champion`; `seam serve` starts it.

The token, where one is wanted, is in the environment: SEAM_SERVE_TOKEN.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import mlflow.pyfunc
import uvicorn
from mlflow.version import VERSION
from PIL import Image

from seam.configs.data import Exif
from tasks.serving.app import Served, make_app
from tasks.serving.asked import Limits, Takes, Uint8Array
from tasks.tracking.store import EXIF, LOST, SETTINGS, one_line

logger = logging.getLogger(__name__)

TOKEN = "SEAM_SERVE_TOKEN"
_AT_MOST = 64
"""Requests at once; the next is answered 503."""


def main() -> None:
    """Load the model and serve it until it is stopped; one line and status 1 where it cannot be."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such a picture is refused, in one line
    given = parse(sys.argv[1:])
    token = os.environ.pop(TOKEN, None) or None
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        served = load(given.model)
    except (*LOST, ValueError) as e:
        sys.exit(f"error: {given.model}: cannot be served: {one_line(e)}")
    if token is None and not _is_loopback(given.host):
        logger.warning("whoever reaches %s may ask; set %s to ask for a token.", given.host, TOKEN)
    limits = Limits(round(given.max_megabytes * 1e6), given.max_images)
    at = f"http://{given.host}:{given.port}/invocations"
    logger.info("serving %s on %s; Ctrl-C stops it", given.model, at)
    uvicorn.run(
        make_app(served, limits, token),
        host=given.host,
        port=given.port,
        limit_concurrency=_AT_MOST,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,  # seconds for requests that are being answered
    )


def load(model: str) -> Served:
    """A model that takes uint8 images, by its address or folder.

    Raises:
        ValueError: it takes something else.
        MlflowException, OSError: it is not there, or cannot be loaded.
    """
    loaded = mlflow.pyfunc.load_model(model)
    schema = loaded.metadata.get_input_schema()
    if schema is None or not schema.is_tensor_spec() or len(schema.inputs) != 1:
        raise ValueError("expected a model whose signature asks for images, got another")
    spec = schema.inputs[0]
    if spec.type != "uint8" or len(spec.shape) != 4 or spec.shape[3] < 1:
        raise ValueError(f"expected a model of uint8 images (n, height, width, channels), got {spec.type} {spec.shape}")
    _, height, width, channels = spec.shape

    def predict(images: Uint8Array) -> Sequence[Mapping[str, Any]]:
        rows: list[Mapping[str, Any]] = loaded.predict(images).to_dict("records")
        return rows

    exif: Exif = "apply" if (loaded.metadata.metadata or {}).get(EXIF) == "apply" else "ignore"
    return Served(predict, Takes(_side(height), _side(width), channels, exif), VERSION)


def _side(size: int) -> int | None:
    return size if size > 0 else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; what is not given is as `Limits` has it."""
    parser = argparse.ArgumentParser(description=__doc__)
    defaults = Limits()
    parser.add_argument("model", help="its address in the registry, or its folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--max-megabytes", type=float, default=defaults.body_bytes / 1e6, help="of a request")
    parser.add_argument("--max-images", type=int, default=defaults.images, help="a request")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
