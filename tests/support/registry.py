"""Debian's docker-registry on loopback, for as long as a test needs it."""

import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.daemon import wait_for
from support.ports import free_port

_CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
{auth}
"""


@dataclass
class RegistryServer:
    folder: Path
    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    def blob(self, digest: str) -> Path:
        name = digest.removeprefix("sha256:")
        return self.folder / "root/docker/registry/v2/blobs/sha256" / name[:2] / name / "data"


@contextmanager
def registry(folder: Path, users: str = "") -> Iterator[RegistryServer]:
    """`users`: lines of htpasswd (bcrypt) who alone may come in; "" = everybody."""
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    folder.mkdir(parents=True)
    port = free_port()
    auth = ""
    if users:
        (folder / "users").write_text(users)
        auth = f'auth: {{htpasswd: {{realm: test, path: "{folder}/users"}}}}'
    (folder / "config.yml").write_text(_CONFIG.format(root=folder / "root", port=port, auth=auth))
    with (folder / "log").open("wb") as said:
        process = subprocess.Popen(
            ["docker-registry", "serve", folder / "config.yml"], stdout=said, stderr=said, stdin=subprocess.DEVNULL
        )
    try:
        wait_for("the registry", lambda: _answers(port))
        yield RegistryServer(folder, port, process)
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
    except OSError:
        return False
    return True
