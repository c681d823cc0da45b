"""A live `orlop daemon` with places of its own, and the commands that talk to it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from orlop.kernel.polling import readable
from support.leaks import find_lasting_leaks, find_leaks

CHECKOUT = Path(__file__).parents[2]
T = TypeVar("T")
Result = subprocess.CompletedProcess[str]


def orlop_command() -> list[str]:
    """The `orlop` of the interpreter that runs the tests, also where the project is not installed."""
    script = Path(sys.executable).parent / "orlop"
    return [str(script)] if script.exists() else [sys.executable, "-c", "from orlop.cli.main import main; main()"]


def docker_commands() -> dict[str, Path]:
    """Every stock docker CLI of this machine, by version."""
    found: dict[str, Path] = {}
    folders = [*map(Path, os.environ.get("PATH", "").split(":")), CHECKOUT / ".cache/docker-cli/usr/bin"]
    for path in (folder / "docker" for folder in folders):
        if os.access(path, os.X_OK):
            answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            if answer.startswith("Docker version "):
                found.setdefault(answer.split()[2].rstrip(","), path.resolve())
    return found


def run_command(command: Sequence[str | Path], code: int | None = 0, stdin: str | bytes = "", **more: Any) -> Result:
    """Run to its end and insist on the exit code (None: any). Output is text, undecodable bytes kept as they are."""
    try:
        done = subprocess.run(
            command,
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            timeout=more.pop("timeout", 60),
            check=False,
            **more,
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{command} hangs; so far it said {late.stdout!r} and {late.stderr!r}") from late
    out, err = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
    assert code is None or done.returncode == code, f"{command} ended with {done.returncode}, not {code}:\n{out}\n{err}"
    return Result(command, done.returncode, out, err)


class LiveDaemon:
    """`start`, `kill` (SIGKILL) and `stop` (SIGTERM) as often as wanted; `close` at the end removes everything and
    insists that nothing is left. Data root, exec root and socket stay the same throughout."""

    def __init__(
        self,
        docker_command: Path | None,
        data_root: Path | None = None,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        # Short, because the path of a unix socket ends at 107 characters.
        self.home = Path(tempfile.mkdtemp(prefix="orlop-", dir=os.environ.get("ORLOP_TEST_ROOT", "/tmp")))
        self.data_root = data_root or self.home / "data"
        self.exec_root = Path(tempfile.mkdtemp(prefix="orlop-", dir="/run"))
        self.socket = self.home / "s"
        self.host = f"unix://{self.socket}"
        self.plugins = self.home / "p"
        self.bridge = f"o{self.home.name.removeprefix('orlop-')}"[:15]
        self.docker_command = docker_command
        self.docker_version = ""  # of the API, where the newest that both know is not wanted
        self.arguments = [*arguments]
        self.environment = {**(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None
        self._log_path = self.home / "log"

    # Its life

    def start(self, environment: Mapping[str, str] | None = None, wait: bool = True) -> None:
        """Start it and wait for its first answer; `environment` holds for this start only."""
        assert not self.is_running
        command = self._command()
        variables = {**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), **self.environment, **(environment or {})}
        with self._log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=variables,
                cwd="/",
                start_new_session=True,
            )
        if wait:
            self.wait_until_it_answers()

    def _command(self) -> list[str]:
        return [
            *(*orlop_command(), "daemon", "--data-root", str(self.data_root), "--exec-root", str(self.exec_root)),
            *("--host", self.host, "--bridge", self.bridge, "--plugin-dir", str(self.plugins), *self.arguments),
        ]

    def wait_until_it_answers(self, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not self._answers():
            assert self.is_running, f"the daemon ended with {self.process and self.process.returncode}:\n{self.logs()}"
            assert time.monotonic() < deadline, f"the daemon does not answer:\n{self.logs()}"
            time.sleep(0.02)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: orlop\r\nConnection: close\r\n\r\n")
                return connection.recv(4096).startswith(b"HTTP/1.1 200")
            except OSError:
                return False

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """As a power cut would, without a word. Containers keep running."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """As the init system does. Containers keep running. Returns the exit code."""
        return self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.kill()
        self.start()

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait_for_exit()

    def wait_for_exit(self, seconds: float = 30) -> int:
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the daemon did not end in {seconds} seconds:\n{self.logs()}") from None

    def logs(self) -> str:
        """The end of what it said."""
        return self.whole_log()[-6000:]

    def whole_log(self) -> str:
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    # Those who talk to it

    def docker(self, *arguments: str | Path, code: int | None = 0, stdin: str | bytes = "", **more: Any) -> Result:
        """The stock docker CLI, against this daemon."""
        return run_command(self.docker_argv(*arguments), code=code, stdin=stdin, env=self.docker_environment, **more)

    def docker_argv(self, *arguments: str | Path) -> list[str | Path]:
        assert self.docker_command, "no docker command on this machine (script/setup fetches one)"
        return [self.docker_command, "--host", self.host, *arguments]

    @property
    def docker_environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("DOCKER_", "ORLOP_"))}
        if self.docker_version:
            kept["DOCKER_API_VERSION"] = self.docker_version
        return {**kept, "DOCKER_CONFIG": str(self.home / "docker-config"), "HOME": str(self.home)}

    def orlop(self, *arguments: str | Path, code: int | None = 0, stdin: str | bytes = "", **more: Any) -> Result:
        """The orlop command, against this daemon."""
        return run_command([*orlop_command(), *arguments], code=code, stdin=stdin, env=self.orlop_environment, **more)

    @property
    def orlop_environment(self) -> dict[str, str]:
        return {**self.docker_environment, "DOCKER_HOST": self.host, "PYTHONPATH": str(CHECKOUT / "src")}

    def spawn(self, *arguments: str | Path, **more: Any) -> subprocess.Popen[bytes]:
        """A docker command that goes on running; the caller ends it."""
        return subprocess.Popen(self.docker_argv(*arguments), env=self.docker_environment, **more)

    @contextmanager
    def spawned(self, *arguments: str | Path, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A docker command that is ended at the end of the block, however that comes."""
        with self.spawn(*arguments, **more) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def inspect(self, kind: str, name: str) -> dict[str, Any]:
        answer: list[dict[str, Any]] = json.loads(self.docker(kind, "inspect", name).stdout)
        return answer[0]

    # Places on disk

    def volume_data(self, name: str) -> Path:
        return self.data_root / "volumes" / name / "_data"

    def layer_folders(self) -> set[str]:
        """Folders of layers, read-only and writable."""
        return {path.name for path in (self.data_root / "overlay2").iterdir() if path.name[0] != "."} - {"l"}

    # The end

    def clear(self) -> None:
        """Remove all containers and volumes."""
        if ids := self.docker("ps", "-aq").stdout.split():
            self.docker("rm", "-f", "-v", *ids)
        if names := self.docker("volume", "ls", "-q").stdout.split():
            self.docker("volume", "rm", *names)

    def close(self) -> None:
        """Remove all containers, stop, and insist that nothing is left."""
        try:
            if self.process is not None:
                if not self.is_running:
                    self.start()
                self.clear()
                assert self.stop() == 0, f"the daemon did not end well:\n{self.logs()}"
            leaks = find_lasting_leaks([self.data_root, self.exec_root], self.bridge)
            assert not leaks, "left behind:\n" + "\n".join(leaks) + "\n" + self.logs()
        finally:
            self.scrub()

    def scrub(self) -> None:
        """Take down what `close` complained about, so that one test's leak is not the next one's trouble."""
        if self.is_running:
            self.kill()
        for leak in find_leaks([self.data_root, self.exec_root], self.bridge):
            kind, subject = leak.split()[:2]
            if kind == "process":
                subprocess.run(["kill", "-9", subject], check=False, capture_output=True)
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            target = line.split()[4]
            if f"{target}/".startswith((f"{self.data_root}/", f"{self.exec_root}/")):
                subprocess.run(["umount", "-l", target], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self.bridge], check=False, capture_output=True)
        subprocess.run(["nft", "delete", "table", "ip", f"orlop-{self.bridge}"], check=False, capture_output=True)
        for place in (self.data_root, self.exec_root, self.home):
            shutil.rmtree(place, ignore_errors=True)


def wait_for(what: str, probe: Callable[[], T], seconds: float = 20) -> T:
    """Ask until the answer is true; a deadline instead of a sleep."""
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"waited {seconds} seconds in vain for {what}"
        time.sleep(0.02)
    return answer


def read_until(stream: IO[bytes], wanted: bytes, seconds: float = 20, said: bytes = b"") -> bytes:
    """Read a pipe or pty until it said `wanted`. The answer begins with what it `said` before, and may go on after
    `wanted`: a piece of a stream ends anywhere."""

    deadline = time.monotonic() + seconds
    while wanted not in said:
        ready = readable([stream.fileno()], max(0.0, deadline - time.monotonic()))
        assert ready, f"waited {seconds} seconds in vain for {wanted!r}; it said {said!r}"
        chunk = os.read(stream.fileno(), 65536)
        assert chunk, f"ended before it said {wanted!r}; it said {said!r}"
        said += chunk
    return said
