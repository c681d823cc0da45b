"""SeaweedFS's S3 in one process, for as long as a test needs it: on loopback, or in a namespace of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.daemon import wait_for
from support.ports import free_ports

WRITER_ACCESS_KEY, WRITER_SECRET_KEY = "access-of-a-writer", "planted-secret-of-a-writer"
ACCESS_KEY, SECRET_KEY = "access-of-the-tests", "planted-secret-of-the-tests"
_PORTS = ("-master.port", "-volume.port", "-filer.port", "-s3.port")
_NOT_WANTED = ("-s3.port.iceberg=0", "-s3.port.lance=0")  # else at ports that two of us would share


@dataclass
class Seaweed:
    folder: Path
    ports: Mapping[str, int]
    process: "subprocess.Popen[bytes]"
    address: str = "127.0.0.1"
    prefix: Sequence[str] = ()

    @property
    def endpoint(self) -> str:
        return f"http://{self.address}:{self.ports['-s3.port']}"

    def rclone(self, *arguments: str, check: bool = True) -> str:
        """rclone on this storage, as somebody else would use it."""
        settings = {
            "TYPE": "s3",
            "PROVIDER": "Other",
            "ENDPOINT": self.endpoint,
            "ACCESS_KEY_ID": ACCESS_KEY,
            "SECRET_ACCESS_KEY": SECRET_KEY,
        }
        variables = {**os.environ, **{f"RCLONE_CONFIG_SEA_{key}": value for key, value in settings.items()}}
        patience = ("--config", os.devnull, "--retries", "1", "--low-level-retries", "1")
        done = subprocess.run(
            [*self.prefix, program("rclone"), *patience, *arguments],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def make_bucket(self, name: str) -> None:
        self.rclone("mkdir", f"sea:{name}")

    def names(self, bucket: str) -> list[str]:
        """But for the marks, by which storage is known again."""
        return sorted(self.rclone("lsf", "-R", "--files-only", "--exclude", ".orlop-mark-*", f"sea:{bucket}").split())

    def marks(self, bucket: str) -> list[str]:
        return sorted(self.rclone("lsf", "-R", "--files-only", "--include", ".orlop-mark-*", f"sea:{bucket}").split())

    def read(self, path: str) -> str:
        return self.rclone("cat", f"sea:{path}")

    def pause(self) -> None:
        """It does not answer, as behind a network that is cut."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)


def program(name: str) -> str:
    """What a wheel put beside the interpreter."""
    return str(Path(sys.executable).parent / name)


@contextmanager
def seaweed(folder: Path, address: str = "127.0.0.1", prefix: Sequence[str] = ()) -> Iterator[Seaweed]:
    """`prefix` stands in front of its command: in which namespace it runs."""
    folder.mkdir()
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    identity = {"name": "tests", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
    # SeaweedFS makes a bucket anew for who may do everything, by their first write to one that is gone.
    writer = {"accessKey": WRITER_ACCESS_KEY, "secretKey": WRITER_SECRET_KEY}
    guarded = {"name": "writer", "credentials": [writer], "actions": ["Read", "Write", "List"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity, guarded]}))
    (folder / "data").mkdir()
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    arguments = ["-dir", "data", f"-ip={address}", f"-ip.bind={address}", "-filer", "-s3", "-s3.config=s3.json"]
    arguments += [
        *_NOT_WANTED,
        "-master.volumeSizeLimitMB=64",
        "-volume.max=300",
        *(f"{key}={port}" for key, port in ports.items()),
    ]
    with (folder / "log").open("wb") as said:
        process = subprocess.Popen(
            [*prefix, program("weed"), "server", *arguments],
            cwd=folder,
            stdout=said,
            stderr=said,
            stdin=subprocess.DEVNULL,
        )
    found = Seaweed(folder, ports, process, address, prefix)
    try:
        wait_for("SeaweedFS", lambda: bool(found.rclone("lsd", "sea:", check=False) or _lists(found)), 60)
        yield found
    finally:
        found.go_on()
        process.kill()
        process.wait()


def _lists(found: Seaweed) -> bool:
    assert found.process.poll() is None, (found.folder / "log").read_text(errors="replace")[-2000:]
    found.rclone("mkdir", "sea:is-it-up", check=False)
    return "is-it-up" in found.rclone("lsd", "sea:", check=False)
