"""Whose data root is this?"""

from pathlib import Path

from orlop.errors import Conflict, Malformed, NotFound
from orlop.foreign.docker_root import DockerRoot, is_docker_root
from orlop.foreign.podman_root import PodmanRoot, is_podman_root
from orlop.foreign.volume import DamagedRoot, ForeignRoot


def open_foreign_root(text: str) -> ForeignRoot:
    """Raises Malformed, NotFound, Conflict."""
    subject = f"adopt {text}"
    if not text.startswith("/"):
        raise Malformed(subject, "it must be an absolute path", "For example /var/lib/docker")
    path = Path(text)
    try:
        path = path.resolve(strict=True)
        if not path.is_dir():
            raise NotADirectoryError
        if (path / "orlop/FORMAT").exists():
            hint = "Run a daemon on it, and use: orlop volume export, orlop volume import"
            raise Conflict(subject, "it is a data root of Orlop's own", hint)
        if is_podman_root(path):
            return PodmanRoot(path)
        if is_docker_root(path):
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
        if is_podman_root(better) or is_docker_root(better):
            raise NotFound(subject, "it is no data root", f"Did you mean {better}?")
