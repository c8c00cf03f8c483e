"""Finds the images and networks that an engine lacks: for `manage.py check`, before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from docker.errors import NotFound

from tasks_app.runner.docker.client import Connection, unavailable_on_error


def absent_images(connection: Connection, names: Iterable[str]) -> set[str]:
    """The images that the engine lacks. Raises Unavailable, within some 10 s."""
    return {name for name in set(names) if not _has(connection.get().inspect_image, name)}


def absent_networks(connection: Connection, names: Iterable[str]) -> set[str]:
    """The networks that the engine lacks. Raises Unavailable, within some 10 s."""
    return {name for name in set(names) if not _has(connection.get().inspect_network, name)}


def _has(inspect: Callable[[str], object], name: str) -> bool:
    with unavailable_on_error():
        try:
            inspect(name)
        except NotFound:  # the base class of ImageNotFound
            return False
        return True
