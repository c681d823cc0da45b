"""Whose data root is this?"""

from pathlib import Path

from orlop.errors import Conflict, Malformed, NotFound
from orlop.foreign import docker_root, podman_root
from orlop.foreign.docker_root import DockerRoot
from orlop.foreign.podman_root import PodmanRoot
from orlop.foreign.volume import DamagedRoot, ForeignRoot


def open_foreign_root(text: str) -> ForeignRoot:
    """Raises Malformed, NotFound, Conflict."""
    subject = f"adopt {text}"
    if not text.startswith("/"):
        raise Malformed(subject, "it must be an absolute path", "For example /var/lib/docker")
    path = Path(text)
    try:
        path = path.resolve(strict=True)
        names = {entry.name for entry in path.iterdir()}
        if "orlop" in names and (path / "orlop/FORMAT").exists():
            hint = "Run a daemon on it, and use: orlop volume export, orlop volume import"
            raise Conflict(subject, "it is a data root of Orlop's own", hint)
        if names & set(podman_root.MARKS):
            return PodmanRoot(path)
        if any((path / mark).exists() for mark in docker_root.MARKS):
            return DockerRoot(path)
        _hint_at_better(subject, path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(subject, "it is not there, or no directory", "Give the engine's data root") from error
    except DamagedRoot as error:
        raise Conflict(subject, str(error)) from error
    raise NotFound(
        subject,
        "it is neither Docker's nor Podman's data root",
        "Docker's is /var/lib/docker, Podman's /var/lib/containers/storage or ~/.local/share/containers/storage",
    )


def _hint_at_better(subject: str, path: Path) -> None:
    for better in (path / "storage", path.parent):
        marks = (*podman_root.MARKS, "volumes/metadata.db")
        if any((better / mark).exists() for mark in marks):
            raise NotFound(subject, "it is no data root", f"Did you mean {better}?")
