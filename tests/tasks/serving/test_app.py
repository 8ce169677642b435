"""The REST server: images are answered, everything else is refused in one line, and nothing is cast."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from starlette.testclient import TestClient

from tasks.serving import app
from tasks.serving.app import Served, make_app
from tasks.serving.asked import AT_ONCE, Limits, Refused, Takes
from tasks.serving.numbers import images_in_json

GREY = Takes(4, 4, 1)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1), dtype=np.uint8)


class Means:
    """A model that answers the mean of each image, and remembers how many it was given at once."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []

    def __call__(self, images: np.ndarray) -> Sequence[Mapping[str, Any]]:
        assert images.dtype == np.uint8
        self.batches.append(images.shape)
        return [{"class": "bright", "probability": float(image.mean())} for image in images]


@pytest.fixture
def means() -> Means:
    return Means()


def client(
    predict: Any, takes: Takes = GREY, token: str | None = None, **limits: int
) -> TestClient:  # the server as it runs, without a socket
    return TestClient(make_app(Served(predict, takes, "3"), Limits(**limits), token), raise_server_exceptions=False)


def post(to: TestClient, body: bytes, kind: str = "application/json") -> Any:
    return to.post("/invocations", content=body, headers={"Content-Type": kind})


def inputs(values: Any, key: str = "inputs") -> bytes:
    return json.dumps({key: values}).encode()


def file(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(stream, kind)
    return stream.getvalue()


def answered(response: Any) -> list[float]:
    assert response.status_code == 200, response.text
    return [row["probability"] for row in response.json()["predictions"]]


def refused(response: Any, status: int) -> str:
    assert response.status_code == status, response.text
    content = response.json()
    assert set(content) == {"error_code", "message"}
    line = content["message"]
    assert "\n" not in line and "Traceback" not in line and len(line) < 300
    return str(line)


@pytest.mark.parametrize("key", ["inputs", "instances"])
def test_whole_numbers_are_answered(means: Means, key: str) -> None:
    assert answered(post(client(means), inputs(IMAGES.tolist(), key))) == [float(i.mean()) for i in IMAGES]


ONE = np.zeros((1, 4, 4, 1), int)
BODIES: dict[str, tuple[bytes, int, str]] = {
    "floats in [0, 1]": (inputs((IMAGES / 255).tolist()), 400, "neither scaled nor normalised"),
    "whole floats": (inputs(ONE.astype(float).tolist()), 400, "got 0.0;"),
    "exponents": (b'{"inputs": [[[[1e2]]]]}', 400, "got 1e2;"),
    "negative": (inputs((ONE - 5).tolist()), 400, "whole numbers from 0 to 255, got -5;"),
    "over 255": (inputs((ONE + 300).tolist()), 400, "whole numbers from 0 to 255, got 300;"),
    "over 64 bits": (inputs((ONE.astype(object) + 2**70).tolist()), 400, "got 9223372036854775807;"),
    "just over 63 bits": (inputs((ONE.astype(object) + 2**63).tolist()), 400, "got 9223372036854775807;"),
    "thousands of digits": (b'{"inputs": [' + b"9" * 5000 + b"]}", 400, "got an array of shape (1,)"),
    "booleans": (b'{"inputs": [[[[true]]]]}', 400, "got true;"),
    "nan": (b'{"inputs": [[[[NaN]]]]}', 400, "got NaN;"),
    "nulls": (b'{"inputs": [[[[null]]]]}', 400, "got null;"),
    "words": (b'{"inputs": [[[["7"]]]]}', 400, 'got "7";'),
    "an object inside": (b'{"inputs": [{"a": 1}]}', 400, "objects or a second list"),
    "other size": (inputs(np.zeros((1, 5, 5, 1), int).tolist()), 400, "(4, 4, 1) in a list, got an array of shape"),
    "three channels": (inputs(np.zeros((1, 4, 4, 3), int).tolist()), 400, "got an array of shape (1, 4, 4, 3)"),
    "no channels": (inputs(np.zeros((1, 4, 4), int).tolist()), 400, "got an array of shape (1, 4, 4)"),
    "a string": (inputs("abc"), 400, "got a str in it"),
    "null": (inputs(None), 400, "got a NoneType in it"),
    "empty": (inputs([]), 400, "one image or more, got none"),
    "no inputs": (b"{}", 400, "got the keys of an empty object"),
    "both keys": (b'{"inputs": [1], "instances": [1]}', 400, "got the keys 'inputs', 'instances'"),
    "twice the key": (b'{"inputs": [1], "inputs": [2]}', 400, "objects or a second list"),
    "params": (b'{"inputs": [1], "params": {}}', 400, "'params'"),
    "a list": (b"[1]", 400, "got a list"),
    "not json": (b"{{{", 400, "got no JSON"),
    "commas": (b'{"inputs": [1,,2]}', 400, "is expected between commas"),
    "a comma at the end": (b'{"inputs": [1,2,]}', 400, "is expected between commas"),
    "no comma": (b'{"inputs": [1 2]}', 400, "is expected between commas"),
    "zeros before a number": (b'{"inputs": [007]}', 400, "is expected between commas"),
    "a number before a bracket": (b'{"inputs": [[1, 5], 3[1, 5]]}', 400, "is expected between commas"),
    "a number after a bracket": (b'{"inputs": [[1, 5]3, [1, 5]]}', 400, "is expected between commas"),
    "more brackets": (b'{"inputs": [1, 2]]}', 400, "lists of different lengths"),
    "fewer brackets": (b'{"inputs": [[1, 2]}', 400, "lists of different lengths"),
    "no number": (b'{"inputs": [[]]}', 400, "is expected between commas"),
    "mixed depths": (b'{"inputs": [1, [2]]}', 400, "lists of different lengths"),
    "nothing": (b"", 400, "got nothing"),
    "a byte order mark": (b"\xef\xbb\xbf" + inputs(IMAGES.tolist()), 400, "a byte order mark"),
    "UTF-16": (inputs(IMAGES.tolist()).decode().encode("utf-16"), 400, "another encoding than UTF-8"),
    "two documents": (inputs(IMAGES.tolist()) * 2, 400, "got no JSON"),
    "one number apart": (b'{"inputs": [[[[1\t0]]]]}', 400, "is expected between commas"),
    "hexadecimal": (b'{"inputs": [[[[0x1]]]]}', 400, "got 0x1;"),
    "a plus": (b'{"inputs": [[[[+1]]]]}', 400, "got +1;"),
    "minus zero": (b'{"inputs": [[[[-0]]]]}', 400, "got -0;"),
    "infinity": (b'{"inputs": [[[[Infinity]]]]}', 400, "got Infinity;"),
    "channels first": (inputs(IMAGES.transpose(0, 3, 1, 2).tolist()), 400, "the channels come last"),
    "a batch of batches": (inputs([IMAGES.tolist()]), 400, "got an array of shape (1, 3, 4, 4, 1)"),
    "one image alone": (inputs(IMAGES[0].tolist()), 400, "in a list, got an array of shape (4, 4, 1)"),
    "columns": (json.dumps({"dataframe_split": {"columns": [0], "data": [[1]]}}).encode(), 400, "'dataframe_split'"),
    "an object of images": (b'{"inputs": {"image": [1]}}', 400, "got a dict in it"),
    "base64": (b'{"inputs": ["aGVsbG8="]}', 400, 'got "aGVsbG8=";'),
    "many keys": (b"{" + b",".join(b'"k%d": 1' % i for i in range(150_000)) + b"}", 400, "something else of 1,"),
    "not UTF-8": (b'{"\xff": 1}', 400, "not UTF-8"),
    "deep": (b"[" * 100_000, 400, "more than 8 deep"),
    "deep objects": (b'{"a":' * 100_000, 400, "more than 8 deep"),
    "deep inside": (b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}", 400, "more than 8 deep"),
    "ragged": (inputs([[1, 2], [3]]), 400, "lists of different lengths"),
    "too many": (inputs(np.zeros((11, 4, 4, 1), int).tolist()), 413, "at most 10 images a request, got 11"),
    "too long": (inputs(np.zeros((2000, 4, 4, 1), int).tolist()), 413, "at most 0.1 MB a request"),
}


@pytest.mark.parametrize("name", BODIES)
def test_everything_else_is_one_line(means: Means, name: str, caplog: pytest.LogCaptureFixture) -> None:
    body, status, words = BODIES[name]
    with caplog.at_level(logging.INFO):
        limits = {"images": 10, "body_bytes": 100_000 if status == 413 else 2_000_000}
        assert words in refused(post(client(means, **limits), body), status)
    assert means.batches == []
    assert all(record.exc_info is None for record in caplog.records)


def test_a_body_without_a_length_is_counted_as_it_comes(means: Means) -> None:
    def pieces() -> Any:
        yield b'{"inputs": ['
        for _ in range(200):
            yield b"0, " * 100

    response = client(means, body_bytes=20_000).post(
        "/invocations", content=pieces(), headers={"Content-Type": "application/json"}
    )
    assert "at most 0.02 MB" in refused(response, 413)


def test_many_images_come_in_batches_and_in_order(means: Means) -> None:
    images = np.arange(2 * AT_ONCE + 1)[:, None, None, None] % 256 + ONE
    assert answered(post(client(means), inputs(images.tolist()))) == [i % 256 for i in range(len(images))]
    assert [shape[0] for shape in means.batches] == [AT_ONCE, AT_ONCE, 1]


def test_files_in_a_form_are_answered_in_their_order(means: Means) -> None:
    files = [("image", (f"{i}.png", file(image))) for i, image in enumerate(IMAGES)]
    assert answered(client(means).post("/invocations", files=files)) == [float(i.mean()) for i in IMAGES]
    assert means.batches == [(3, 4, 4, 1)]


def test_one_file_is_a_body(means: Means) -> None:
    assert answered(post(client(means), file(IMAGES[0]), "image/png")) == [float(IMAGES[0].mean())]
    grey = file(np.full((4, 4, 1), 80, np.uint8), "JPEG")
    assert answered(post(client(means), grey, "image/jpeg")) == [80.0]


def test_grey_files_are_repeated_for_a_network_of_colours(means: Means) -> None:
    assert answered(post(client(means, Takes(4, 4, 3)), file(IMAGES[0]), "image/png")) == [float(IMAGES[0].mean())]
    assert means.batches == [(1, 4, 4, 3)]


def test_files_of_several_sizes_where_the_model_resizes(means: Means) -> None:
    sizes = [(4, 4, 1), (4, 4, 1), (9, 5, 1), (4, 4, 1)]
    files = [("image", (f"{i}.png", file(np.full(size, i, np.uint8)))) for i, size in enumerate(sizes)]
    assert answered(client(means, Takes(None, None, 1)).post("/invocations", files=files)) == [0, 1, 2, 3]
    assert means.batches == [(2, 4, 4, 1), (1, 9, 5, 1), (1, 4, 4, 1)]


def animated() -> bytes:
    stream = BytesIO()
    frames = [Image.fromarray(np.full((4, 4), 50 * i, np.uint8)) for i in range(3)]
    frames[0].save(stream, "PNG", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def sixteen_bits() -> bytes:
    stream = BytesIO()
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(stream, "PNG")
    return stream.getvalue()


def bomb() -> bytes:
    """Kilobytes of PNG that are 4,000,000 pixels."""
    return file(np.zeros((2000, 2000, 1), np.uint8))


FILES: dict[str, tuple[bytes, int, str]] = {
    "a GIF": (file(IMAGES[0], "GIF"), 400, "expected a picture, got something else"),
    "text": (b"hello", 400, "expected a picture, got something else"),
    "nothing": (b"", 400, "send PNG or JPEG pictures"),
    "cut off": (file(np.zeros((4, 4, 1), np.uint8))[:-25], 400, "send PNG or JPEG pictures"),
    "several pictures": (animated(), 400, "got several in one file"),
    "16 bits": (sixteen_bits(), 400, "expected 8 bits a sample"),
    "in colour": (file(np.zeros((4, 4, 3), np.uint8)), 400, "expected a grey picture, got one in colour"),
    "other size": (file(np.zeros((5, 4, 1), np.uint8)), 400, "expected a picture of (4, 4, 1), got 5 x 4 pixels"),
    "many pixels": (bomb(), 400, "expected at most 999,984 pixels, got 2000 x 2000"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_understood_is_named(means: Means, name: str) -> None:
    content, status, words = FILES[name]
    files = [("image", ("first.png", file(IMAGES[0]))), ("image", ("second.png", content))]
    line = refused(client(means, pixels=1_000_000).post("/invocations", files=files), status)
    assert line.startswith("second.png: ") and words in line
    assert means.batches == []


def test_drawn_out_files_are_refused_where_the_model_resizes(means: Means) -> None:
    wide = file(np.zeros((1, 3000, 1), np.uint8))
    assert "1 x 3000 pixels" in refused(post(client(means, Takes(None, None, 1)), wide, "image/png"), 400)


def test_pixels_of_all_files_count(means: Means) -> None:
    files = [("image", (f"{i}.png", file(np.zeros((100, 100, 1), np.uint8)))) for i in range(4)]
    line = refused(client(means, Takes(None, None, 1), pixels=25_000).post("/invocations", files=files), 400)
    assert line.startswith("2.png: ") and "at most 5,000 pixels" in line


def test_damaged_requests_are_answered_or_refused(means: Means) -> None:
    boundary = b"--b\r\nContent-Disposition: form-data; name=image; filename=a.png\r\nContent-Type: image/png\r\n\r\n"
    bodies = {
        "application/json": inputs(IMAGES.tolist()),
        "image/png": file(IMAGES[0]),
        "image/jpeg": file(IMAGES[0], "JPEG"),
        "multipart/form-data; boundary=b": boundary + file(IMAGES[0]) + b"\r\n--b--\r\n",
    }
    rng, to = np.random.default_rng(2), client(means)
    for kind, body in bodies.items():
        assert answered(post(to, body, kind))
        for number in range(150):
            damaged = bytearray(body)
            at, size = int(rng.integers(len(body))), int(rng.integers(1, 6))
            damaged[at : at + size] = rng.integers(0, 256, size if number % 3 else 0, dtype=np.uint8).tobytes()
            response = post(to, bytes(damaged), kind)
            if response.status_code != 200:
                refused(response, 400)


@pytest.mark.parametrize("name", ["commas", "lists", "rows", "digits", "spaces", "numbers", "keys", "quotes"])
def test_a_long_body_takes_no_longer_than_its_bytes(name: str) -> None:
    bodies = {
        "commas": b'{"inputs": [' + b"," * 200_000 + b"]}",
        "lists": b'{"inputs": [' + b"[1]," * 50_000 + b"[1]]}",
        "rows": b'{"inputs": [[[[' + b"1," * 100_000 + b"1]]]]}",
        "digits": b'{"inputs": [[[[' + b"1" * 200_000 + b"]]]]}",
        "spaces": b'{"inputs": [[[[' + b" " * 200_000 + b"1]]]]}",
        "numbers": b'{"inputs": [[[[' + b"1 " * 100_000 + b"1]]]]}",
        "keys": b"{" + b'"k":' * 50_000 + b"}",
        "quotes": b'{"inputs": ["' + b'\\"' * 100_000 + b'"]}',
    }

    def steps(body: bytes) -> int:
        """Lines of Python that are run, none of which goes through a body twice."""
        seen = 0

        def count(frame: Any, event: str, arg: Any) -> Any:
            nonlocal seen
            seen += event == "line"
            return count

        sys.settrace(count)
        try:
            with pytest.raises(Refused):
                images_in_json(body, GREY, Limits())
        finally:
            sys.settrace(None)
        return seen

    assert steps(bodies[name]) < 200


PART = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n%b\r\n'


@pytest.mark.parametrize("cut", [1, 2, 4, 5, 6, 20, 60, 90])
def test_a_form_that_breaks_off_is_not_answered_in_part(means: Means, cut: int) -> None:
    body = PART % file(IMAGES[0]) + PART % file(IMAGES[1]) + b"--b--"
    kind = "multipart/form-data; boundary=b"
    assert len(answered(post(client(means), body, kind))) == 2
    means.batches.clear()
    refused(post(client(means), body[:-cut], kind), 400)
    assert means.batches == []


def test_two_fields_of_files_are_answered_in_their_order(means: Means) -> None:
    files = [("one", ("a.png", file(IMAGES[1]))), ("other", ("b.png", file(IMAGES[0])))]
    found = answered(client(means).post("/invocations", files=files))
    assert found == [float(IMAGES[1].mean()), float(IMAGES[0].mean())]


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
def test_packed_content_is_refused_whatever_it_is(means: Means, encoding: str) -> None:
    for body in (inputs(IMAGES.tolist()), gzip.compress(inputs(IMAGES.tolist()))):
        headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
        response = client(means).post("/invocations", content=body, headers=headers)
        assert "send it unpacked" in refused(response, 415)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_a_picture_is_decoded_as_the_training_images_were(means: Means, mode: str) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    stream, kind = BytesIO(), "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    Image.fromarray(colours).convert(mode).save(stream, kind)
    seen: list[np.ndarray] = []

    def sees(images: np.ndarray) -> Sequence[Mapping[str, Any]]:
        seen.append(images)
        return [{"probability": 0.0} for _ in images]

    answered(post(client(sees, Takes(4, 4, 3)), stream.getvalue(), f"image/{kind.lower()}"))
    ((decoded,),) = seen
    assert np.array_equal(decoded, np.array(Image.open(stream).convert("RGB")))


@pytest.mark.parametrize("noted", range(1, 9))
def test_an_orientation_is_treated_as_in_training(noted: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = noted
    stream = BytesIO()
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (4, 8, 3), dtype=np.uint8)).save(stream, "PNG", exif=exif)
    seen: list[np.ndarray] = []

    def sees(images: np.ndarray) -> Sequence[Mapping[str, Any]]:
        seen.extend(images)
        return [{"probability": 0.0} for _ in images]

    answered(post(client(sees, Takes(4, 8, 3)), stream.getvalue(), "image/png"))
    shown = np.array(ImageOps.exif_transpose(Image.open(stream)))
    answered(post(client(sees, Takes(len(shown), shown.shape[1], 3, exif="apply")), stream.getvalue(), "image/png"))
    assert np.array_equal(seen[0], np.array(Image.open(stream))) and np.array_equal(seen[1], shown)


def test_forms_of_too_many_files_or_of_something_else(means: Means) -> None:
    files = [("image", (f"{i}.png", file(IMAGES[0]))) for i in range(12)]
    assert "at most 10 images" in refused(client(means, images=10).post("/invocations", files=files), 413)
    assert "at most 10 images" in refused(client(means, images=10).post("/invocations", files=files[:11]), 413)
    mixed = client(means).post("/invocations", files=files[:1], data={"name": "x"})
    assert "a form of files alone" in refused(mixed, 400)
    assert "one image or more" in refused(post(client(means), b"--b--\r\n", "multipart/form-data; boundary=b"), 400)
    assert "a form of files" in refused(post(client(means), b"--b\r\nx", "multipart/form-data; boundary=c"), 400)
    assert "a form of files" in refused(post(client(means), b"--b\r\nx", "multipart/form-data"), 400)
    long = [("image", ("a.png", bytes(30_000)))]
    assert "0.02 MB" in refused(client(means, body_bytes=20_000).post("/invocations", files=long), 413)


@pytest.mark.parametrize("kind", ["text/csv", "", "application/json; charset=latin-1", "image/gif"])
def test_other_types_of_content(means: Means, kind: str) -> None:
    assert "expected content of type application/json" in refused(post(client(means), b"{}", kind), 415)


def test_a_token(means: Means) -> None:
    asked = client(means, token="s3cret")
    assert "Authorization: Bearer" in refused(post(asked, inputs(IMAGES.tolist())), 401)
    headers = {"Authorization": "Bearer wrong", "Content-Type": "application/json"}
    assert refused(asked.post("/invocations", content=inputs(IMAGES.tolist()), headers=headers), 401)
    headers["Authorization"] = "Bearer s3cret"
    assert answered(asked.post("/invocations", content=inputs(IMAGES.tolist()), headers=headers))
    assert asked.get("/ping").status_code == 200
    assert means.batches == [(3, 4, 4, 1)]


def test_a_model_that_fails_says_so_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    def fails(images: np.ndarray) -> Sequence[Mapping[str, Any]]:
        raise RuntimeError("secret\npath")

    with caplog.at_level(logging.INFO):
        line = refused(post(client(fails), inputs(IMAGES.tolist())), 500)
    assert "RuntimeError" in line and "secret" not in line
    (record,) = [r for r in caplog.records if r.name == "tasks.serving.app"]
    assert record.getMessage() == "unexpected RuntimeError: secret path" and record.exc_info is None


def test_an_answer_that_breaks_off_is_no_json() -> None:
    calls: list[int] = []

    def fails_later(images: np.ndarray) -> Sequence[Mapping[str, Any]]:
        calls.append(len(images))
        if len(calls) == 2:
            raise RuntimeError("gone")
        return [{"class": "a"} for _ in images]

    response = post(client(fails_later), inputs(np.zeros((AT_ONCE + 1, 4, 4, 1), int).tolist()))
    with pytest.raises(json.JSONDecodeError):
        response.json()


def test_what_the_model_says_of_images_is_told() -> None:
    def refuses(images: np.ndarray) -> Sequence[Mapping[str, Any]]:
        raise ValueError("made for images of exactly 4 x 4 pixels")

    assert "exactly 4 x 4" in refused(post(client(refuses), inputs(IMAGES.tolist())), 400)


def test_a_request_that_does_not_end(means: Means, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_BODY_SECONDS", 0.01)
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": headers, "query_string": b""}
    asyncio.run(make_app(Served(means, GREY, "3"), Limits())(scope, receive, send))
    assert sent[0]["status"] == 408 and b"expected the request within" in sent[1]["body"]


def test_other_addresses_and_methods(means: Means) -> None:
    asked = client(means)
    assert asked.get("/health").status_code == 200 and asked.get("/version").text == "3"
    assert "POST to /invocations" in refused(asked.get("/nothing"), 404)
    assert "Method Not Allowed" in refused(asked.get("/invocations"), 405)
