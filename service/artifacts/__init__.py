"""Pantries, adaptation sets and merged models, behind one interface."""

from service.artifacts.folder import FolderStore
from service.artifacts.store import ArtifactStore
from service.settings import Settings


def open_store(settings: Settings) -> ArtifactStore:
    """The artifact store that the settings name."""
    return FolderStore(settings.data_dir, settings)
