"""Pictures inside a page: pixels to JPEG to a data URI, with nothing else in the file."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from hvit_cli.report.markup import Html, element

Rgb = npt.NDArray[np.uint8]
_QUALITY = 86


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as a page holds it.

    Attributes:
        jpeg: The file.
        size_px: (width, height).
        alt: What it shows, for who cannot see it.
    """

    jpeg: bytes
    size_px: tuple[int, int]
    alt: str


def picture_of(pixels: Rgb, alt: str, *, longest_px: int | None = None) -> Picture:
    """Compresses pixels.

    Args:
        pixels: (h, w, 3).
        alt: What they show.
        longest_px: The longer side is reduced to this; nothing keeps the size.
    """
    image = Image.fromarray(pixels)
    if longest_px is not None:
        image.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    # Full colour resolution: cells of a heatmap have sharp edges between strong hues.
    image.save(stream, format="JPEG", quality=_QUALITY, subsampling=0, optimize=True)
    return Picture(jpeg=stream.getvalue(), size_px=image.size, alt=alt)


def shown(picture: Picture, css_class: str = "") -> Html:
    """The picture as an element; its pixels are in the page."""
    data = base64.b64encode(picture.jpeg).decode("ascii")
    width, height = picture.size_px
    return element(
        "img",
        {
            "src": f"data:image/jpeg;base64,{data}",
            "alt": picture.alt,
            "width": width,
            "height": height,
            "class": css_class or None,
        },
    )
