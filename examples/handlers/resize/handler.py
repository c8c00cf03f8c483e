"""resize: changes the size of a picture.

Data: `url` (http, https or data) or `image_base64`; `width` and `height` in pixels. With only one of the two the
ratio is kept; without both the picture is scaled to fit a box of 128 x 128.
Result: `width`, `height`, `format` ("JPEG", "PNG" or "WEBP"), `mime_type`, `size` (bytes), `data` (base64), and
`source` with the `width`, `height` and `format` of the input.
Invalid data is a permanent error; a URL that fails for now is an error worth a retry.
"""

from __future__ import annotations

import base64
from typing import Any

from taskdaemon import Error, Result, Success, Task, run

from fetch import MAX_PICTURE, TOO_LARGE, BadAddress, NotFetched, fetch
from picture import LARGEST_SIDE, BadPicture, Size, resized


class BadData(Exception):
    """The task's data cannot be used; the message says why."""


def wanted_size(data: dict[str, Any]) -> Size:
    """The requested `width` and `height`; None for each that is missing."""
    sides: list[int | None] = []
    for key in ("width", "height"):
        side = data.get(key)
        # A boolean is an int in Python.
        whole = isinstance(side, int) and not isinstance(side, bool)
        if side is not None and not (whole and 1 <= side <= LARGEST_SIDE):
            raise BadData(f"data.{key} must be an integer from 1 to {LARGEST_SIDE}, and this is {side!r:.80}.")
        sides.append(side)
    return Size(*sides)


def picture_bytes(data: dict[str, Any]) -> bytes:
    """The encoded picture that the task names, at most MAX_PICTURE bytes."""
    given = [key for key in ("url", "image_base64") if data.get(key) is not None]
    if len(given) != 1:
        raise BadData("data must have one of url and image_base64, and not both.")
    key = given[0]
    text = data[key]
    if not isinstance(text, str):
        raise BadData(f"data.{key} must be a string.")
    if key == "url":
        return fetch(text)
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raise BadData("data.image_base64 is not base64.") from None
    if len(raw) > MAX_PICTURE:
        raise BadData(TOO_LARGE)
    return raw


def handle(task: Task) -> Result:
    try:
        size = wanted_size(task.task_data)
        picture = resized(picture_bytes(task.task_data), size)
    except (BadData, BadAddress, BadPicture) as error:
        return Error(str(error))
    except NotFetched as error:
        return Error(str(error), retryable=error.retryable)
    return Success(
        {
            "width": picture.width,
            "height": picture.height,
            "format": picture.format,
            "mime_type": picture.mime_type,
            "size": len(picture.content),
            "data": base64.b64encode(picture.content).decode("ascii"),
            "source": picture.source,
        }
    )


if __name__ == "__main__":
    run(handle)
