"""Decodes images, in the same way for acceptance and for use."""

from typing import IO

from PIL import Image, ImageOps, UnidentifiedImageError

from service.errors import InvalidSet, TooLarge, is_of_machine

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
LONGEST = 100
"""Longest side in units of the shorter one: resizing by the shorter side would turn a line of pixels into gigabytes."""
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})


def decode(stream: IO[bytes], name: str, max_pixels: int) -> Image.Image:
    """The whole image in ``stream``, turned upright by its EXIF orientation, in the mode of its file.

    Its size is checked before its pixels are decoded; of an animation, only the first frame is used. Raises InvalidSet
    (``not_an_image``, ``image_damaged``, ``image_mode``) or TooLarge (``image_too_large``), all naming ``name``;
    MemoryError, and OSError when the disk fails.
    """
    image = _open(stream, name)
    width, height = image.size
    if width * height > max_pixels:
        raise _too_large(name, f"{width} x {height} pixels, more than {max_pixels}")
    if max(width, height) > LONGEST * min(width, height):
        raise _too_large(name, f"{width} x {height} pixels, one side more than {LONGEST} times the other")
    if image.mode not in _MODES:
        raise InvalidSet(
            f"the image {name!r} has more than 8 bits a channel or unusual colours (mode {image.mode}): "
            "save it as RGB or grey with 8 bits",
            code="image_mode",
        )
    return _upright(image, name)


def _open(stream: IO[bytes], name: str) -> Image.Image:
    try:
        return Image.open(stream, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, str(error)) from error
    except UnidentifiedImageError as error:
        raise InvalidSet(
            f"the file {name!r} is not an image: leave it out, or save it as PNG or JPEG", code="not_an_image"
        ) from error
    except Exception as error:
        if is_of_machine(error):
            raise
        raise _damaged(name, error) from error


def _upright(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
        return ImageOps.exif_transpose(image)
    except Exception as error:
        if is_of_machine(error):
            raise
        raise _damaged(name, error) from error


def _too_large(name: str, what: str) -> TooLarge:
    return TooLarge(f"the image {name!r} is too large ({what}): scale it down, or crop it", code="image_too_large")


def _damaged(name: str, error: Exception) -> InvalidSet:
    return InvalidSet(f"the image {name!r} does not decode ({error}): save it again", code="image_damaged")
