"""`rclone serve docker`: a volume plugin that others wrote, on a socket and with folders of its own."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from support.daemon import wait_for
from support.ports import listens
from support.seaweed import program


class RclonePlugin:
    """`remotes` are rclone's, by name: {"far": {"TYPE": "alias", "REMOTE": "/srv"}}."""

    def __init__(self, plugins: Path, folder: Path, remotes: Mapping[str, Mapping[str, str]]) -> None:
        self.socket = plugins / "rclone.sock"
        self.folder = folder
        self.variables = {
            f"RCLONE_CONFIG_{name.upper()}_{key}": value for name, it in remotes.items() for key, value in it.items()
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.socket.parent.mkdir(exist_ok=True)
        (self.folder / "volumes").mkdir(exist_ok=True)
        self.socket.unlink(missing_ok=True)
        places = ("--base-dir", self.folder / "volumes", "--cache-dir", self.folder / "cache", "--config", os.devnull)
        with (self.folder / "log").open("ab") as said:
            self.process = subprocess.Popen(
                [program("rclone"), "serve", "docker", "--socket-addr", self.socket, *places, "-v"],
                env={**os.environ, **self.variables},
                stdout=said,
                stderr=said,
                stdin=subprocess.DEVNULL,
            )
        wait_for("rclone to listen", lambda: listens(self.socket))

    def stop(self) -> None:
        """As its service manager does: it unmounts what it has mounted."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def close(self) -> None:
        self.stop()
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            target = line.split()[4]
            if target.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "-l", target], check=False)
