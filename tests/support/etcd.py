"""Debian's etcd on free ports of loopback, one member or several, for as long as a test needs it."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orlop.cluster.address import Credentials, Endpoint, parse_endpoints
from orlop.cluster.etcd import Etcd
from orlop.errors import OrlopError
from support.daemon import wait_for
from support.ports import free_ports

ROOT_PASSWORD = "planted-password-of-etcd"


@dataclass
class Member:
    name: str
    command: Sequence[str]
    folder: Path
    client_port: int
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        with (self.folder / f"{self.name}.log").open("ab") as said:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def kill(self) -> None:
        if self.process is not None:
            self.go_on()
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)
        threads = Path(f"/proc/{self.process.pid}/task")  # which stop one after the other
        wait_for("etcd to stand still", lambda: all(_is_stopped(thread) for thread in threads.iterdir()))

    def go_on(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)


def _is_stopped(thread: Path) -> bool:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"


@dataclass
class EtcdCluster:
    members: list[Member]
    credentials: Credentials = field(default_factory=Credentials)

    @property
    def address(self) -> str:
        """As `--cluster` takes it."""
        return "etcd://" + ",".join(f"127.0.0.1:{member.client_port}" for member in self.members)

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        return parse_endpoints(self.address)

    def client(self) -> Etcd:
        return Etcd(self.endpoints, self.credentials)

    def wait_until_it_answers(self) -> None:
        """With all its members, those started anew that were killed."""
        client = self.client()
        for member in self.members:
            if member.process is None:
                member.start()
        try:
            wait_for("etcd", lambda: _answers(self, client), 30)
        finally:
            client.close()

    def member_at(self, endpoint: Endpoint) -> Member:
        return next(member for member in self.members if member.client_port == endpoint.port)

    def etcdctl(self, *words: str) -> str:
        scheme = "https" if self.credentials.is_tls else "http"
        options = [f"--endpoints={','.join(f'{scheme}://{endpoint}' for endpoint in self.endpoints)}"]
        if self.credentials.is_tls:
            options += [f"--cacert={self.credentials.ca}", f"--cert={self.credentials.certificate}"]
            options += [f"--key={self.credentials.key}"]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        done = subprocess.run(
            ["etcdctl", *options, *words], capture_output=True, text=True, env=environment, timeout=20, check=False
        )
        assert done.returncode == 0, f"etcdctl {words} failed: {done.stderr}"
        return done.stdout

    def ask_for_passwords(self) -> None:
        """From now on only `root` with ROOT_PASSWORD may."""
        self.etcdctl("user", "add", f"root:{ROOT_PASSWORD}")
        self.etcdctl("user", "grant-role", "root", "root")
        self.etcdctl("auth", "enable")


@contextmanager
def etcd(folder: Path, members: int = 1, is_tls: bool = False, more: Sequence[str] = ()) -> Iterator[EtcdCluster]:
    program = shutil.which("etcd")
    if program is None or shutil.which("etcdctl") is None:
        pytest.skip("etcd is not installed: script/setup")
    folder.mkdir(parents=True, exist_ok=True)
    ports = free_ports(2 * members)
    credentials = write_certificates(folder / "tls") if is_tls else Credentials()
    names = {f"m{number}": (ports[2 * number], ports[2 * number + 1]) for number in range(members)}
    found = EtcdCluster(
        [
            Member(name, [program, *_settings(folder, name, names, is_tls), *more], folder, client)
            for name, (client, _) in names.items()
        ],
        credentials,
    )
    try:
        found.wait_until_it_answers()
        yield found
    finally:
        for member in found.members:
            member.kill()


def _settings(folder: Path, name: str, names: Mapping[str, tuple[int, int]], is_tls: bool) -> list[str]:
    client, peer = names[name]
    scheme = "https" if is_tls else "http"
    tls = [
        *("--cert-file", str(folder / "tls/server.pem"), "--key-file", str(folder / "tls/server.key")),
        *("--trusted-ca-file", str(folder / "tls/ca.pem"), "--client-cert-auth"),
    ]
    return [
        *("--name", name, "--data-dir", str(folder / name), "--logger", "zap", "--log-level", "warn"),
        *("--listen-client-urls", f"{scheme}://127.0.0.1:{client}"),
        *("--advertise-client-urls", f"{scheme}://127.0.0.1:{client}"),
        *(
            "--listen-peer-urls",
            f"http://127.0.0.1:{peer}",
            "--initial-advertise-peer-urls",
            f"http://127.0.0.1:{peer}",
        ),
        *("--initial-cluster", ",".join(f"{each}=http://127.0.0.1:{port}" for each, (_, port) in names.items())),
        *("--initial-cluster-state", "new", "--unsafe-no-fsync", *(tls if is_tls else [])),
    ]


def _answers(found: EtcdCluster, client: Etcd) -> bool:
    for member in found.members:
        assert member.process is not None
        assert member.process.poll() is None, (member.folder / f"{member.name}.log").read_text()[-3000:]
    try:
        client.get("nothing", 2)
    except OrlopError:
        return False
    return True


def write_certificates(folder: Path) -> Credentials:
    """An authority, and by it a server for 127.0.0.1 and a client."""
    folder.mkdir()
    _openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=orlop test authority", "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name in ("server", "client"):
        _openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/O=orlop",
                 "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                 "-days", "2", "-extfile", "names", "-out", f"{name}.pem")  # fmt: skip
    return Credentials(folder / "ca.pem", folder / "client.pem", folder / "client.key")


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=True, timeout=20)
