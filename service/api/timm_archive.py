"""A merged model as the zip of a folder that timm loads."""

from collections.abc import Iterator
from pathlib import Path

from zipstream import ZipStream


def timm_archive(model: Path, config: Path) -> ZipStream:
    """The zip of ``config.json`` and ``model.safetensors``, stored without compression, of known length.

    ``timm.create_model("local-dir:<folder>")`` loads the folder that it unpacks to.
    """
    archive = ZipStream(sized=True)
    archive.add_path(str(config), "config.json")
    archive.add_path(str(model), "model.safetensors")
    return archive


def chunks(archive: ZipStream) -> Iterator[bytes]:
    """The bytes of ``archive``; files are read while they are sent."""
    yield from archive
