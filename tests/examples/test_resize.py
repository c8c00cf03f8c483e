"""resize: pictures in the task's data."""

from __future__ import annotations

import base64
import io
import random
from typing import Any

import pytest
from PIL import Image

from tests.examples.conftest import Ask


def encoded(width: int, height: int, kind: str = "PNG", mode: str = "RGB", **how: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), 200).save(buffer, kind, **how)
    return buffer.getvalue()


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def shown(reply: dict[str, Any]) -> Image.Image:
    """The picture of a reply. Asserts that the reply's other fields match it."""
    assert reply["status"] == "success", reply
    result = reply["result"]
    content = base64.b64decode(result["data"], validate=True)
    picture = Image.open(io.BytesIO(content))
    assert (picture.width, picture.height, picture.format) == (result["width"], result["height"], result["format"])
    assert (result["size"], result["mime_type"]) == (len(content), picture.get_format_mimetype())
    picture.load()
    return picture


def refused(reply: dict[str, Any]) -> str:
    assert reply["status"] == "error", reply
    assert reply["retryable"] is False
    error: str = reply["error"]
    return error


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"width": 50, "height": 70}, (50, 70)),
        ({"width": 100}, (100, 50)),
        ({"height": 100}, (200, 100)),
        ({"width": 800}, (800, 400)),
        ({}, (128, 64)),
        ({"width": None, "height": None}, (128, 64)),
        ({"width": 1}, (1, 1)),
    ],
)
def test_a_missing_side_keeps_the_ratio(ask: Ask, asked: dict[str, int], size: tuple[int, int]):
    reply = ask("resize", {"image_base64": base64_of(encoded(400, 200)), **asked})
    assert shown(reply).size == size
    assert reply["result"]["source"] == {"width": 400, "height": 200, "format": "PNG"}


def test_a_picture_that_fits_the_box_is_not_enlarged(ask: Ask):
    assert shown(ask("resize", {"image_base64": base64_of(encoded(20, 10))})).size == (20, 10)


@pytest.mark.parametrize(
    ("kind", "mode", "becomes"),
    [
        ("JPEG", "RGB", "JPEG"),
        ("JPEG", "CMYK", "JPEG"),
        ("JPEG", "L", "JPEG"),
        ("PNG", "RGBA", "PNG"),
        ("PNG", "P", "PNG"),
        ("PNG", "LA", "PNG"),
        ("PNG", "1", "PNG"),
        ("PNG", "I;16", "PNG"),
        ("WEBP", "RGBA", "WEBP"),
        ("GIF", "P", "PNG"),
        ("BMP", "RGB", "PNG"),
        ("TIFF", "CMYK", "PNG"),
        ("TIFF", "F", "PNG"),
    ],
)
def test_every_kind_of_picture_is_resized(ask: Ask, kind: str, mode: str, becomes: str):
    picture = shown(ask("resize", {"image_base64": base64_of(encoded(40, 30, kind, mode)), "width": 20}))
    assert (picture.size, picture.format) == ((20, 15), becomes)


def test_grey_of_sixteen_bits_keeps_its_brightness(ask: Ask):
    buffer = io.BytesIO()
    Image.new("I;16", (8, 8), 0x8000).save(buffer, "PNG")
    assert shown(ask("resize", {"image_base64": base64_of(buffer.getvalue()), "width": 4})).getpixel((0, 0)) == 0x80


def test_transparency_is_kept(ask: Ask):
    buffer = io.BytesIO()
    Image.new("RGBA", (10, 10), (255, 0, 0, 0)).save(buffer, "PNG")
    assert shown(ask("resize", {"image_base64": base64_of(buffer.getvalue())})).getpixel((5, 5)) == (255, 0, 0, 0)


def test_a_picture_is_rotated_as_its_exif_tag_says(ask: Ask):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert shown(ask("resize", {"image_base64": base64_of(encoded(40, 20, "JPEG", exif=exif))})).size == (20, 40)


@pytest.mark.parametrize("side", [0, -1, 4097, 10**9, True, 10.0, "10", [10]])
@pytest.mark.parametrize("key", ["width", "height"])
def test_a_bad_side_is_refused(ask: Ask, key: str, side: object):
    error = refused(ask("resize", {"image_base64": base64_of(encoded(4, 4)), key: side}))
    assert error.startswith(f"data.{key} must be an integer from 1 to 4096")


def test_a_ratio_that_would_make_a_side_too_long_is_refused(ask: Ask):
    assert "4096 x 409600 pixels" in refused(ask("resize", {"image_base64": base64_of(encoded(1, 100)), "width": 4096}))


@pytest.mark.long("a large picture", seconds=6)
@pytest.mark.parametrize("side", [8_000, 20_000])
def test_a_decompression_bomb_is_refused(ask: Ask, side: int):
    bomb = base64_of(encoded(side, side, mode="1"))
    assert refused(ask("resize", {"image_base64": bomb})) == "The picture has more than 50,000,000 pixels."


@pytest.mark.long("a large picture", seconds=6)
def test_a_picture_that_would_not_fit_a_reply_is_refused(ask: Ask):
    noise = io.BytesIO()
    Image.frombytes("RGB", (400, 300), random.Random(1).randbytes(360_000)).save(noise, "PNG")
    reply = ask("resize", {"image_base64": base64_of(noise.getvalue()), "width": 4000, "height": 3000})
    assert "ask for a smaller one" in refused(reply)


@pytest.mark.parametrize(
    "content",
    [b"", b"plain text", b"%!PS-Adobe-3.0 EPSF-3.0\n", encoded(64, 64)[:60], encoded(64, 64, "JPEG")[:300]],
    ids=["empty", "text", "postscript", "half a PNG", "half a JPEG"],
)
def test_a_bad_picture_is_a_permanent_error(ask: Ask, content: bytes):
    assert refused(ask("resize", {"image_base64": base64_of(content)})).startswith(
        ("This is not a picture", "The picture")
    )


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "one of url and image_base64"),
        ({"url": "data:,x", "image_base64": "eA=="}, "one of url and image_base64"),
        ({"image_base64": 5}, "data.image_base64 must be a string"),
        ({"image_base64": "not base64!"}, "not base64"),
        ({"image_base64": "é"}, "not base64"),
        ({"url": ["http://127.0.0.1/"]}, "data.url must be a string"),
    ],
)
def test_data_that_names_no_picture_is_refused(ask: Ask, data: dict[str, object], says: str):
    assert says in refused(ask("resize", data))
