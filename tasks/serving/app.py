"""The REST server of one model: MLflow's addresses and form of answers, and nothing answered that was not understood.

- GET /ping, /health: 200 when the model is loaded
- GET /version: MLflow's
- POST /invocations: images as JSON, as a file, or as files in a form, to {"predictions": [...]}
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive

from tasks.serving.asked import AT_ONCE, Limits, Refused, Takes, Uint8Array
from tasks.serving.files import File, images_in_files
from tasks.serving.numbers import images_in_json

logger = logging.getLogger(__name__)

_BODY_SECONDS = 60.0
"""In which a request has to have arrived."""
_BOUNDARY = re.compile(r"boundary=\"?([^\";,\s]+)", re.IGNORECASE)
_END = 128
"""Bytes of the end of a form that are looked at."""
_DRAINED = 8
"""Times the limit: so much of a body that is too long is thrown away, that its sender hears the answer."""
_CODES = {400: "BAD_REQUEST", 401: "UNAUTHENTICATED", 404: "ENDPOINT_NOT_FOUND", 500: "INTERNAL_ERROR"}
"""As MLflow calls them; BAD_REQUEST unless listed."""
_TYPES = "application/json, multipart/form-data, image/png or image/jpeg"


@dataclass(frozen=True)
class Served:
    """A model and what it takes."""

    predict: Callable[[Uint8Array], Sequence[Mapping[str, Any]]]
    """Images (n, height, width, channels), at most `AT_ONCE`, to a row of JSON for each."""
    takes: Takes
    mlflow_version: str


def make_app(served: Served, limits: Limits, token: str | None = None) -> Starlette:
    """The server's application.

    Args:
        served: the model.
        limits: of a request.
        token: when given, a request has to have the header `Authorization: Bearer TOKEN`.
    """
    one_at_a_time = threading.Lock()

    async def invocations(request: Request) -> Response:
        _check_token(request, token)
        batches = await _batches(request, served.takes, limits)
        pieces = _answer(served, batches, one_at_a_time)
        first = await asyncio.to_thread(next, pieces)  # what fails, fails before 200 is said
        return StreamingResponse(chain([first], _to_the_end(pieces)), media_type="application/json")

    async def ping(request: Request) -> Response:
        return Response("\n", media_type="application/json")

    async def version(request: Request) -> Response:
        return Response(served.mlflow_version, media_type="text/plain")

    routes = [Route("/ping", ping), Route("/health", ping), Route("/version", version)]
    routes.append(Route("/invocations", _refusing(invocations), methods=["POST"]))
    return Starlette(routes=routes, exception_handlers={HTTPException: _say_http})


def _refusing(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The same, with one line instead of whatever it raises, in the answer and in the log."""

    async def refusing(request: Request) -> Response:
        try:
            return await answer(request)
        except Refused as e:
            logger.info("refused: %s", e.line)
            return _said(e.status, e.line)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody hears it
        except Exception as e:
            logger.error("unexpected %s: %s", type(e).__name__, " ".join(str(e).split())[:300])
            return _said(500, f"unexpected {type(e).__name__}; the server's log has a line on it.")

    return refusing


def _said(status: int, line: str) -> JSONResponse:
    return JSONResponse({"error_code": _CODES.get(status, "BAD_REQUEST"), "message": line}, status)


async def _say_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _said(error.status_code, f"{request.method} {request.url.path}: {error.detail}; POST to /invocations.")


def _check_token(request: Request, token: str | None) -> None:
    given = request.headers.get("authorization", "")
    if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        raise Refused(401, "expected the header 'Authorization: Bearer TOKEN' with the token of this server.")


async def _batches(request: Request, takes: Takes, limits: Limits) -> list[Uint8Array]:
    """The images of a request, in batches."""
    packed = request.headers.get("content-encoding", "identity")
    if packed.strip().lower() not in ("", "identity"):
        raise Refused(415, f"expected content as it is, got it encoded as {ascii(packed)[:40]}; send it unpacked.")
    kind, _, rest = request.headers.get("content-type", "").partition(";")
    kind = kind.strip().lower()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            if kind == "multipart/form-data":
                files = await _form(request, limits)
            else:
                body = await Request(request.scope, _limited(request, limits.body_bytes)).body()
    except TimeoutError:
        raise Refused(408, f"expected the request within {_BODY_SECONDS:g} s.") from None
    if kind == "multipart/form-data":
        return await asyncio.to_thread(images_in_files, files, takes, limits)
    if kind in ("image/png", "image/jpeg"):
        return await asyncio.to_thread(images_in_files, [File("the body", body)], takes, limits)
    if kind != "application/json" or ("charset" in rest.lower() and "utf-8" not in rest.lower()):
        raise Refused(415, f"expected content of type {_TYPES}, got {ascii(kind + rest)[:80]}.")
    images = await asyncio.to_thread(images_in_json, body, takes, limits)
    return [images[first : first + AT_ONCE] for first in range(0, len(images), AT_ONCE)]


async def _form(request: Request, limits: Limits) -> list[File]:
    """The files of a form, in their order."""
    last = bytearray()
    limited = Request(request.scope, _limited(request, limits.body_bytes, last))
    try:
        async with limited.form(max_files=limits.images + 1, max_fields=1, max_part_size=1024) as form:
            sent = list(form.multi_items())
            files = [File(_named(v.filename), await v.read()) for _, v in sent if isinstance(v, UploadFile)]
    except HTTPException as e:
        if "Too many files" in str(e.detail):
            limits.check_count(limits.images + 1)
        raise Refused(400, f"expected a form of files, got: {str(e.detail).rstrip('.')}.") from None
    boundary = _BOUNDARY.search(request.headers.get("content-type", ""))
    if boundary and not last.rstrip(b"\r\n\t ").endswith(b"--" + boundary[1].encode("latin-1") + b"--"):
        raise Refused(400, "expected a whole form, got one without its end; send it again.")
    if len(files) != len(sent):
        raise Refused(400, "expected a form of files alone, got a field that is none; curl -F image=@a.png sends one.")
    return files


def _named(name: str | None) -> str:
    return ascii(name or "a file")[1:-1][:80]


def _limited(request: Request, most: int, last: bytearray | None = None) -> Receive:
    """What a request receives, refused when it is longer; `last` has its last bytes afterwards."""
    seen = 0

    async def receive() -> Message:
        nonlocal seen
        message: Message = await request.receive()
        seen += len(message.get("body", b""))
        if last is not None:
            last[:] = (last + message.get("body", b"")[-_END:])[-_END:]
        declared = request.headers.get("content-length", "")
        if seen > most or (declared.isdecimal() and int(declared) > most):
            await _drain(request, message, most * _DRAINED)
            raise Refused(
                413,
                f"expected at most {most / 1e6:g} MB a request; send images as files, or in several requests, or serve"
                " with --max-megabytes.",
            )
        return message

    return receive


async def _drain(request: Request, message: Message, most: int) -> None:
    """Receive and forget, for who does not listen before all is sent."""
    seen = 0
    while message.get("more_body", False) and seen < most:
        message = await request.receive()
        seen += len(message.get("body", b""))


def _answer(served: Served, batches: Sequence[Uint8Array], one_at_a_time: threading.Lock) -> Iterator[bytes]:
    """The answer a batch at a time, so that memory and the wait of others stay bounded."""
    before = '{"predictions": ['
    for batch in batches:
        with one_at_a_time:
            rows = _predicted(served, batch)
        yield (before + ", ".join(json.dumps(row, allow_nan=False) for row in rows)).encode()
        before = ", "
    yield b"]}"


def _predicted(served: Served, batch: Uint8Array) -> Sequence[Mapping[str, Any]]:
    try:
        return served.predict(batch)
    except ValueError as e:  # the model's own word on images
        raise Refused(400, " ".join(str(e).split())[:300]) from None


def _to_the_end(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The rest of an answer; one that fails stays without its end, which no reader of JSON takes for whole."""
    try:
        yield from pieces
    except Exception as e:
        logger.error("unexpected %s: %s", type(e).__name__, " ".join(str(e).split())[:300])
