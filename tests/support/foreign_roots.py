"""Data roots of Docker and Podman, made by the real ones, for `orlop adopt` to take over.

    python tests/support/foreign_roots.py tests/samples/docker-20.10.tar.gz

makes the stored sample of Docker's anew: what a stopped dockerd left in volumes/ and containers/, and what it had said.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from support.daemon import Result, docker_commands, run_command
from support.dockerd import Dockerd
from support.images import write_busybox_tar

SAMPLES = Path(__file__).parents[1] / "samples"
DOCKERD = Path("/usr/sbin/dockerd")
BOUND = "/srv"  # what the volume `bound` shows


class StoppedDocker(Dockerd):
    """One without networks: it is only to make volumes."""

    def _command(self) -> list[str]:
        where = ("--data-root", str(self.data_root), "--exec-root", str(self.exec_root), "--host", self.host)
        return [str(DOCKERD), *where, "--bridge", "none", "--iptables=false", "--pidfile", str(self.home / "pid")]


def fill_data(data: Path) -> None:
    """What a copy could get wrong: owner, mode, a hard link, a link, a hole, an attribute."""
    (data / "sub").mkdir(mode=0o750)
    (data / "sub/note").write_text("kept\n")
    os.chown(data / "sub/note", 1000, 1001)
    os.link(data / "sub/note", data / "again")
    (data / "link").symlink_to("sub/note")
    with (data / "sparse").open("wb") as file:
        file.truncate(1 << 20)
    os.setxattr(data / "sub/note", "user.colour", b"blue")
    os.chown(data, 999, 998)
    data.chmod(0o2770)


def make_docker_volumes(docker: Dockerd) -> dict[str, dict[str, Any]]:
    """Volumes of every kind; what Docker says of each, by name. `used` and an anonymous one belong to a container."""
    docker.docker("volume", "create", "plain")
    docker.docker("volume", "create", "--label", "tier=db", "--label", "empty=", "labelled")
    docker.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=10m", "memory")
    bind = ("-o", "type=none", "-o", "o=bind", "-o", f"device={BOUND}")
    docker.docker("volume", "create", *bind, "--label", "kind=bind", "bound")
    with tempfile.TemporaryDirectory() as folder:
        docker.docker("import", write_busybox_tar(Path(folder, "busybox.tar")), "busybox")
    docker.docker("create", "--name", "web", "--network", "none", "-v", "used:/data", "-v", "/var", "busybox", "true")
    fill_data(docker.volume_data("plain"))
    (docker.volume_data("used") / "note").write_text("used\n")
    names = docker.docker("volume", "ls", "-q").stdout.split()
    return {name: docker.inspect("volume", name) for name in names}


@contextmanager
def live_docker() -> Iterator[StoppedDocker]:
    docker = StoppedDocker(next(iter(docker_commands().values())))
    try:
        docker.start()
        yield docker
    finally:
        docker.scrub()


def copy_docker_root(source: Path, target: Path) -> None:
    """What matters of it, which is not the images."""
    target.mkdir()
    for name in ("volumes", "containers"):
        subprocess.run(["cp", "-a", source / name, target / name], check=True)
    (target / "volumes/backingFsBlockDev").unlink(missing_ok=True)
    for name in ("image", "network", "buildkit"):
        (target / name).mkdir()


def unpack_docker_root(target: Path) -> dict[str, dict[str, Any]]:
    """The stored sample; what Docker said of its volumes then."""
    target.mkdir()
    with tarfile.open(SAMPLES / "docker-20.10.tar.gz") as archive:
        archive.extractall(target, numeric_owner=True)
    fill_data(target / "volumes/plain/_data")
    said: dict[str, dict[str, Any]] = json.loads((target / "said.json").read_text())
    (target / "said.json").unlink()
    return said


class Podman:
    """The real one, with a storage root of its own. Its run root must have a short path."""

    def __init__(self, root: Path, run_root: Path) -> None:
        self.root, self._run_root = root, run_root
        self._command = ["podman", "--root", str(self.root), "--runroot", str(self._run_root)]
        self._command += ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]

    def __call__(self, *arguments: str | Path, code: int | None = 0) -> Result:
        return run_command([*self._command, *arguments], code=code)

    def inspect(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self("volume", "inspect", name).stdout)
        return found[0]

    def data(self, name: str) -> Path:
        return self.root / "volumes" / name / "_data"


def write_sample(path: Path) -> None:
    with live_docker() as docker:
        said = make_docker_volumes(docker)
        docker.stop()
        shutil.rmtree(docker.volume_data("plain"))  # unpack_docker_root fills it: a tar has no holes and no attributes
        docker.volume_data("plain").mkdir()
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder, "root")
            copy_docker_root(docker.data_root, root)
            (root / "said.json").write_text(json.dumps(said))
            with tarfile.open(path, "w:gz") as archive:
                for entry in sorted(root.iterdir()):
                    archive.add(entry, entry.name)


if __name__ == "__main__":
    write_sample(Path(sys.argv[1]))
