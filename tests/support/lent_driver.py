"""A live `orlop plugin serve` with places of its own, and the podman and dockerd that use it."""

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.daemon import CHECKOUT, Result, orlop_command, run_command

PLUGINS = Path("/run/docker/plugins")  # dockerd looks nowhere else
_LIMITS = ("--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000")  # podman asks for more than a container has


class LentDriver:
    """`start`, `kill` and `stop` as often as wanted; `close` at the end removes everything."""

    def __init__(self, driver: str = "local", socket_path: Path | None = None, arguments: Sequence[str] = ()) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="orlop-", dir=os.environ.get("ORLOP_TEST_ROOT", "/tmp")))
        self.driver = driver
        self.plugin = f"orlop-{driver}-{secrets.token_hex(4)}"  # as engines call it
        self.socket = socket_path or PLUGINS / f"{self.plugin}.sock"
        self.root = self.home / "root"
        self.arguments = [*arguments]
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self._log = self.home / "log"

    def start(self, wait: bool = True) -> None:
        command = [
            *(*orlop_command(), "plugin", "serve", "--driver", self.driver),
            *("--socket", str(self.socket), "--root", str(self.root), *self.arguments),
        ]
        variables = {**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), **self.environment}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=variables, cwd="/"
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not self._is_ready():
            assert self.process is not None
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.logs()}"
            assert time.monotonic() < deadline, f"it does not answer:\n{self.logs()}"
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        try:
            return self.call("VolumeDriver.Capabilities", {})[0] == 200
        except OSError:
            return False

    def call(self, method: str, body: Mapping[str, Any] | bytes, seconds: float = 30) -> tuple[int, dict[str, Any]]:
        connection = _UnixConnection(str(self.socket), seconds)
        try:
            connection.request("POST", f"/{method}", body if isinstance(body, bytes) else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def called(self, method: str, **fields: Any) -> dict[str, Any]:
        """VolumeDriver.<method>, which succeeds."""
        status, answer = self.call(f"VolumeDriver.{method}", fields)
        assert status == 200 and not answer.get("Err"), answer
        return answer

    def refused(self, method: str, **fields: Any) -> str:
        """VolumeDriver.<method>, which fails: why."""
        status, answer = self.call(f"VolumeDriver.{method}", fields)
        assert status != 200, answer
        return str(answer["Err"])

    def uses(self) -> list[str]:
        """Ids of the mounts that it counts."""
        records = (self.exec_root / "lent").glob("[!.]*")
        return [json.loads(record.read_text())["use"]["id"] for record in records]

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.kill()
        self.start()

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(30)

    def logs(self) -> str:
        return self._log.read_text(errors="replace")[-6000:] if self._log.exists() else ""

    def mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line.split()[4] for line in lines if f"{line.split()[4]}/".startswith(f"{self.root}/")]

    def close(self) -> None:
        """Everything goes; insists that nothing was left mounted."""
        try:
            if self.process is not None:
                assert self.stop() in (0, -signal.SIGKILL), self.logs()
                assert not self.socket.exists()
            assert not self.mounts(), self.logs()
        finally:
            for target in reversed(self.mounts()):
                subprocess.run(["umount", "-l", target], check=False, capture_output=True)
            self.socket.unlink(missing_ok=True)
            shutil.rmtree(self.home, ignore_errors=True)
            shutil.rmtree(self.exec_root, ignore_errors=True)

    @property
    def exec_root(self) -> Path:
        from orlop.daemon.lend import Loan

        return Loan(self.driver, root=str(self.root)).exec_root.path


class Podman:
    """Debian's podman with a storage of its own, which knows these plugins."""

    def __init__(self, *plugins: LentDriver) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="orlop-", dir=os.environ.get("ORLOP_TEST_ROOT", "/tmp")))
        self.run_root = Path(tempfile.mkdtemp(prefix="orlop-", dir="/run"))
        lines = [f'{plugin.plugin} = "{plugin.socket}"\n' for plugin in plugins]
        (self.home / "containers.conf").write_text("[engine.volume_plugins]\n" + "".join(lines))

    def __call__(self, *arguments: str | Path, code: int | None = 0, stdin: str | bytes = "") -> Result:
        return run_command(self.argv(*arguments), code=code, stdin=stdin, env=self.environment)

    def argv(self, *arguments: str | Path) -> list[str | Path]:
        places = ("--root", self.home / "root", "--runroot", self.run_root, "--tmpdir", self.run_root / "tmp")
        ways = (
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
            "--runtime",
            "runc",
            "--events-backend",
            "file",
        )
        return ["podman", *places, *ways, *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "CONTAINERS_CONF": str(self.home / "containers.conf"), "HOME": str(self.home)}

    def run(self, *arguments: str | Path, code: int | None = 0) -> Result:
        """`podman run`, within what this machine allows."""
        return self("run", "--network", "none", *_LIMITS, *arguments, code=code)

    def clear(self) -> None:
        self("rm", "-af", "-t", "0")
        self("volume", "rm", "-af", code=None)  # one that another engine uses stays

    def close(self) -> None:
        try:
            self.clear()
        finally:
            for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
                target = line.split()[4]
                if f"{target}/".startswith((f"{self.home}/", f"{self.run_root}/")):
                    subprocess.run(["umount", "-l", target], check=False, capture_output=True)
            for place in (self.home, self.run_root):
                shutil.rmtree(place, ignore_errors=True)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("plugin.moby.localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
