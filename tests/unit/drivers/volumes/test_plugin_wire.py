"""A plugin on the network: whom we trust, and who we say we are."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orlop.drivers.volumes.plugin_link import Deadlines
from orlop.drivers.volumes.plugin_source import PluginSource
from orlop.errors import Unavailable


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        activation = self.path == "/Plugin.Activate"
        self.send_response(200)
        self.end_headers()  # no length: the answer ends with the connection
        self.wfile.write(b'{"Implements": ["VolumeDriver"]}' if activation else b'{"Volumes": [{"Name": "data"}]}')

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority's, and one of it for localhost, which serves for both ends; another authority's."""
    place = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes")
    for name in ("ca", "other"):
        openssl("req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
    openssl("req", *key, "-keyout", "end.key", "-out", "end.csr", "-subj", "/CN=localhost")
    (place / "names").write_text("subjectAltName=DNS:localhost")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "end.csr", *signing, "-out", "end.pem")
    return place


@pytest.fixture
def port(certificates: Path) -> Iterator[int]:
    """Of a plugin that lets nobody in whom the authority does not know."""
    server = ThreadingHTTPServer(("localhost", 0), _Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "end.pem", certificates / "end.key")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def listed(tmp_path: Path, spec: str, ending: str = "json") -> list[str]:
    (tmp_path / f"far.{ending}").write_text(spec)
    source = PluginSource(tmp_path / "run", [tmp_path], deadlines=Deadlines(activation=5, call=5))
    driver = source.find("far")
    assert driver is not None
    try:
        return [found.name for found in driver.list_volumes()]
    finally:
        source.close()


def test_both_ends_know_each_other(tmp_path: Path, certificates: Path, port: int) -> None:
    files = f'"CAFile": "{certificates}/ca.pem", "CertFile": "{certificates}/end.pem"'
    tls = f'{{{files}, "KeyFile": "{certificates}/end.key"}}'
    assert listed(tmp_path, f'{{"Addr": "tcp://localhost:{port}", "TLSConfig": {tls}}}') == ["data"]


def test_a_plugin_whom_the_authority_does_not_know_is_not_used(tmp_path: Path, certificates: Path, port: int) -> None:
    files = f'"CAFile": "{certificates}/other.pem", "CertFile": "{certificates}/end.pem"'
    tls = f'{{{files}, "KeyFile": "{certificates}/end.key"}}'
    with pytest.raises(Unavailable, match="certificate"):
        listed(tmp_path, f'{{"Addr": "https://localhost:{port}", "TLSConfig": {tls}}}')


def test_a_plugin_that_wants_to_know_us_and_does_not_says_why(tmp_path: Path, port: int) -> None:
    with pytest.raises(Unavailable, match="far"):
        listed(tmp_path, f"https://localhost:{port}", "spec")


def test_a_plugin_on_the_network_without_tls(tmp_path: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    assert listed(tmp_path, f"tcp://127.0.0.1:{server.server_address[1]}\n", "spec") == ["data"]
    server.shutdown()
    server.server_close()
    with pytest.raises(Unavailable, match="far"):
        listed(tmp_path, f"tcp://127.0.0.1:{server.server_address[1]}\n", "spec")
