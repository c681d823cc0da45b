"""Servers of a NAS on loopback: Samba, sshd, WebDAV. Each in the foreground, with everything below one folder."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from support.daemon import wait_for
from support.ports import free_port

USER, PASSWORD = "root", "planted-password-of-the-nas"


@dataclass
class Nas:
    data: Path
    options: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    server: "Server | None" = None  # where it can be made to go away

    def pause(self) -> None:
        """It takes connections and answers nothing, as a machine that hangs."""
        assert self.server
        os.killpg(self.server.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.server
        os.killpg(self.server.process.pid, signal.SIGCONT)


@contextmanager
def samba(folder: Path, guests: bool = False) -> Iterator[Nas]:
    port, data = free_port(), _data(folder)
    (folder / "smb.conf").write_text(
        f"""[global]
        smb ports = {port}
        interfaces = lo
        bind interfaces only = yes
        server role = standalone server
        disable netbios = yes
        map to guest = {"Bad User" if guests else "Never"}
        guest account = {USER}
        load printers = no
        printcap name = /dev/null
        private dir = {folder}
        passdb backend = tdbsam:{folder}/passdb.tdb
        lock directory = {folder}
        state directory = {folder}
        cache directory = {folder}
        pid directory = {folder}
        ncalrpc dir = {folder}/ncalrpc
        log file = {folder}/smb.log
        [team]
        path = {data}
        writable = yes
        {"guest ok = yes" if guests else f"valid users = {USER}"}
        """
    )
    config = f"--configfile={folder}/smb.conf"
    if not guests:
        known: list[str | Path] = ["smbpasswd", "-c", folder / "smb.conf", "-a", "-s", USER]
        subprocess.run(known, input=f"{PASSWORD}\n{PASSWORD}\n".encode(), check=True, capture_output=True)
    command = ["/usr/sbin/smbd", "--foreground", "--no-process-group", config]
    options = {"protocol": "smb", "host": "127.0.0.1", "port": str(port), "share": "team", "user": USER}
    with _server(folder, command, port) as server:
        yield Nas(data, {**options, "password": "secret://nas"}, {"nas": PASSWORD}, server)


@contextmanager
def sftp(folder: Path) -> Iterator[Nas]:
    port, data = free_port(), _data(folder)
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / name], check=True, timeout=30
        )
    keys = folder / "authorized"
    keys.write_text((folder / "user.pub").read_text())
    keys.chmod(0o600)
    (folder / "sshd.conf").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {keys}\nStrictModes no\n"
        f"PidFile {folder}/pid\nUsePAM no\nPermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)  # where sshd locks itself in
    host_key = " ".join((folder / "host.pub").read_text().split()[:2])
    options = {"protocol": "sftp", "host": "127.0.0.1", "port": str(port), "user": USER, "path": str(data)}
    with _server(folder, ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd.conf")], port):
        yield Nas(
            data, {**options, "key": "secret://nas", "host-key": host_key}, {"nas": (folder / "user").read_text()}
        )


@contextmanager
def webdav(folder: Path) -> Iterator[Nas]:
    port, data = free_port(), _data(folder)
    settings = {
        "host": "127.0.0.1",
        "port": port,
        "provider_mapping": {"/": str(data)},
        "simple_dc": {"user_mapping": {"*": {USER: {"password": PASSWORD}}}},
        "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
        "lock_storage": True,
    }
    (folder / "dav.json").write_text(json.dumps(settings))
    options = {"protocol": "webdav", "url": f"http://127.0.0.1:{port}/", "user": USER, "password": "secret://nas"}
    program = str(Path(__file__).with_name("webdav_server.py"))
    with _server(folder, [sys.executable, program, str(folder / "dav.json"), str(port)], port):
        yield Nas(data, options, {"nas": PASSWORD})


def _data(folder: Path) -> Path:
    data = folder / "shared"
    data.mkdir(parents=True)
    return data


class Server:
    """`start` and `stop` as often as wanted, always on the same port."""

    def __init__(self, folder: Path, command: list[str], port: int) -> None:
        self._folder = folder
        self._command = command
        self._port = port
        self.start()

    def start(self) -> None:
        with (self._folder / "log").open("ab") as said:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self._folder,
                start_new_session=True,
            )
        try:
            wait_for(f"{self._command[0]}", lambda: _answers(self.process, self._folder, self._port), 30)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """As a machine that loses its power."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()


@contextmanager
def _server(folder: Path, command: list[str], port: int) -> Iterator[Server]:
    server = Server(folder, command, port)
    try:
        yield server
    finally:
        server.stop()


def _answers(process: "subprocess.Popen[bytes]", folder: Path, port: int) -> bool:
    assert process.poll() is None, (folder / "log").read_text(errors="replace")[-2000:]
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
