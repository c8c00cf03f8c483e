"""Decodes, scales and encodes pictures; refuses those that would take too much memory."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

BOX = 128
"""The side of the box, in pixels, that a picture is scaled to fit if no size is requested."""
LARGEST_SIDE = 4096
"""The largest side, in pixels, that can be requested."""
MAX_PIXELS = 50_000_000
"""The largest picture that is decoded, with up to 4 bytes a pixel in memory."""
MAX_ANSWER = 7 * 1024 * 1024
"""Bytes. Base64 adds a third, and a reply has at most 10 MiB."""
# A fixed list, because other formats start programs (EPS) or embed further formats.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")

# A picture of a few kilobytes can decode to gigabytes. Pillow warns above this and raises at twice that.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)


class BadPicture(Exception):
    """The picture cannot be decoded or scaled; the message says why."""


@dataclass(frozen=True)
class Size:
    """The requested size in pixels; None: not requested."""

    width: int | None
    height: int | None


@dataclass(frozen=True)
class Picture:
    """An encoded picture. `source` has the `width`, `height` and `format` of the original."""

    width: int
    height: int
    format: str
    content: bytes
    source: dict[str, Any]

    @property
    def mime_type(self) -> str:
        return f"image/{self.format.lower()}"


def resized(content: bytes, size: Size) -> Picture:
    """The picture in `content` at `size`: JPEG and WEBP keep their format, others become PNG.

    Uses the first frame of an animation. Raises BadPicture.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            source_format = str(opened.format)
            # Cameras store the orientation in a tag, which would be lost.
            upright = ImageOps.exif_transpose(opened)
            source = {"width": upright.width, "height": upright.height, "format": source_format}
            target = _target(upright.width, upright.height, size)
            kept = source_format if source_format in ("JPEG", "WEBP") else "PNG"
            scaled = _plain(upright, kept).resize(target, Image.Resampling.LANCZOS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadPicture(f"The picture has more than {MAX_PIXELS:,} pixels.") from None
    except UnidentifiedImageError:
        raise BadPicture(f"This is not a picture in a known format ({', '.join(FORMATS)}).") from None
    # Pillow's decoders raise almost any exception on a damaged file.
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, IndexError, EOFError, OverflowError) as error:
        raise BadPicture(f"The picture is damaged: {error}.") from None
    encoded = io.BytesIO()
    scaled.save(encoded, format=kept)
    if encoded.tell() > MAX_ANSWER:
        raise BadPicture(f"The new picture has more than {MAX_ANSWER:,} bytes; ask for a smaller one.")
    return Picture(scaled.width, scaled.height, kept, encoded.getvalue(), source)


def _target(width: int, height: int, size: Size) -> tuple[int, int]:
    if size.width and size.height:
        return size.width, size.height
    if size.width:
        scale = size.width / width
    elif size.height:
        scale = size.height / height
    else:
        scale = min(1.0, BOX / width, BOX / height)
    target = size.width or max(1, round(width * scale)), size.height or max(1, round(height * scale))
    if max(target) > LARGEST_SIDE:
        raise BadPicture(
            f"With its ratio kept the new picture would have {target[0]} x {target[1]} pixels; "
            f"a side may have {LARGEST_SIDE}."
        )
    return target


def _plain(image: Image.Image, kept: str) -> Image.Image:
    """The picture in a mode that can be scaled smoothly and that the format `kept` supports."""
    if image.mode.startswith("I"):
        # Grey with 16 bits a pixel, which `convert` would clip to white.
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if kept == "JPEG":
        return image if image.mode in ("L", "RGB") else image.convert("RGB")
    if image.mode in ("L", "RGB", "RGBA") and "transparency" not in image.info:
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")
