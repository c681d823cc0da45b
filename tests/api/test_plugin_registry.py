"""`docker plugin install`, `upgrade` and `push`: plugins in a registry on loopback (Debian's docker-registry)."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.asking import Api
from support.daemon import LiveDaemon
from support.managed_plugin import small_config, write_context
from support.registry import RegistryServer, registry


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    with registry(tmp_path_factory.mktemp("registry") / "docker") as found:
        yield found


@pytest.fixture(autouse=True)
def no_plugins_left(daemon: LiveDaemon) -> Iterator[None]:
    yield
    for volume in daemon.docker("volume", "ls", "-q").stdout.split():
        daemon.docker("volume", "rm", "-f", volume)
    for name in daemon.docker("plugin", "ls", "-q").stdout.split():
        daemon.docker("plugin", "rm", "-f", name)
    left = daemon.data_root / "plugins/blobs"
    assert not left.exists() or not list(left.iterdir())
    assert not list((daemon.data_root / "orlop/incoming").iterdir())


def publish(daemon: LiveDaemon, name: str, folder: Path, **changes: Any) -> str:
    """The digest of what was pushed; the plugin is not here afterwards."""
    daemon.docker("plugin", "create", name, write_context(folder, small_config(**changes)))
    said = daemon.docker("plugin", "push", name).stdout
    daemon.docker("plugin", "rm", name)
    return said.rpartition("digest: ")[2].split()[0]


def inspect(daemon: LiveDaemon, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(daemon.docker("plugin", "inspect", name).stdout)[0]
    return found


def test_pushed_and_installed(daemon: LiveDaemon, server: RegistryServer, tmp_path: Path) -> None:
    docker, name = daemon.docker, f"{server.name}/tests/small:1"
    digest = publish(daemon, name, tmp_path / "c")
    manifest = json.loads(server.blob(digest).read_bytes())
    assert manifest["config"]["mediaType"] == "application/vnd.docker.plugin.v1+json"
    assert [layer["mediaType"] for layer in manifest["layers"]] == ["application/vnd.docker.image.rootfs.diff.tar.gzip"]

    asked = docker("plugin", "install", name, stdin="y\n").stdout
    for privilege in ("mount: [/usr]", "capabilities: [CAP_SYS_ADMIN]"):
        assert f" - {privilege}" in asked
    assert docker("plugin", "ls", "--format", "{{.Name}} {{.Enabled}}").stdout == f"{name} true\n"
    docker("volume", "create", "-d", name, "notes")
    assert docker("run", "--rm", "-v", "notes:/n", "busybox", "ls", "/n").stdout == ""
    docker("volume", "rm", "notes")

    again = docker("plugin", "push", name).stdout
    assert digest in again, "what was installed is pushed as it came"
    assert "already exists" in docker("plugin", "install", "--grant-all-permissions", name, code=1).stderr


def test_refused_by_the_one_who_is_asked(daemon: LiveDaemon, server: RegistryServer, tmp_path: Path) -> None:
    name = f"{server.name}/tests/refused:1"
    publish(daemon, name, tmp_path / "c")
    daemon.docker("plugin", "install", name, stdin="n\n", code=None)
    assert daemon.docker("plugin", "ls", "-q").stdout == ""


def test_installed_under_another_name_with_settings_and_disabled(
    daemon: LiveDaemon, server: RegistryServer, tmp_path: Path
) -> None:
    name = f"{server.name}/tests/small:alias"
    publish(daemon, name, tmp_path / "c")
    options = ("--grant-all-permissions", "--disable", "--alias", "mine")
    daemon.docker("plugin", "install", *options, name, "GREETING=moin")
    found = inspect(daemon, "mine")
    assert (found["Name"], found["Enabled"], found["PluginReference"]) == ("mine:latest", False, name)
    assert "GREETING=moin" in found["Settings"]["Env"]


def test_an_install_whose_plugin_does_not_start_leaves_it_disabled(
    daemon: LiveDaemon, server: RegistryServer, tmp_path: Path
) -> None:
    name = f"{server.name}/tests/small:fails"
    publish(daemon, name, tmp_path / "c")
    told = daemon.docker("plugin", "install", "--grant-all-permissions", name, "FAILS=1", code=1).stderr
    assert "it cannot work so" in told
    assert not inspect(daemon, name)["Enabled"]


def test_privileges_that_were_not_agreed_to_are_not_given(
    daemon: LiveDaemon, server: RegistryServer, tmp_path: Path
) -> None:
    """What is in the registry may be another plugin than the one that its user was asked about."""
    api = Api(daemon, "1.41")
    name = f"{server.name}/tests/small:greedy"
    publish(daemon, name, tmp_path / "c", pidhost=True)
    asked = api.ok("GET", "/plugins/privileges", remote=name)
    assert [each["Name"] for each in asked] == ["host pid namespace", "mount", "mount", "capabilities"]
    for granted in ([], asked[1:], [*asked, {"Name": "network", "Value": ["host"]}], [*asked, asked[0]]):
        assert "incorrect privileges" in api.refused(403, "POST", "/plugins/pull", granted, remote=name)
    assert api.ok("GET", "/plugins") == []


def test_upgraded_with_settings_and_volumes_kept(daemon: LiveDaemon, server: RegistryServer, tmp_path: Path) -> None:
    docker, name = daemon.docker, f"{server.name}/tests/small:moves"
    publish(daemon, name, tmp_path / "one")
    docker("plugin", "install", "--grant-all-permissions", "--alias", "mine", name, "GREETING=moin")
    docker("volume", "create", "-d", "mine", "notes")
    docker("run", "--rm", "-v", "notes:/n", "busybox", "sh", "-c", "echo kept > /n/a")
    before = inspect(daemon, "mine")
    env = [*small_config()["env"][:3], {"name": "VERSION", "value": "2"}, {"name": "NEW", "value": "shiny"}]
    publish(daemon, name, tmp_path / "two", env=env)

    assert "must be disabled before upgrading" in docker("plugin", "upgrade", "mine", stdin="y\n", code=1).stderr
    docker("plugin", "disable", "-f", "mine")
    docker("plugin", "upgrade", "--grant-all-permissions", "mine")
    after = inspect(daemon, "mine")
    assert after["Id"] == before["Id"]
    assert {"GREETING=moin", "VERSION=2", "NEW=shiny"} <= set(after["Settings"]["Env"])
    docker("plugin", "enable", "mine")
    assert docker("volume", "ls", "--format", "{{.Driver}} {{.Name}}").stdout == "mine:latest notes\n"
    (kept,) = (daemon.data_root / "plugins/kept").glob("*-rootfs.1")
    assert (kept / "data/notes/a").read_text() == "kept\n", "its volumes were in the root file system that was replaced"


def test_what_is_not_what_it_is_said_to_be_is_not_installed(
    daemon: LiveDaemon, server: RegistryServer, tmp_path: Path
) -> None:
    name = f"{server.name}/tests/small:forged"
    digest = publish(daemon, name, tmp_path / "c", description="to be forged")
    (layer,) = json.loads(server.blob(digest).read_bytes())["layers"]
    blob = server.blob(layer["digest"])
    sound = blob.read_bytes()
    blob.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    told = daemon.docker("plugin", "install", "--grant-all-permissions", name, code=1).stderr
    assert "not what was asked for" in told
    blob.write_bytes(sound)
    daemon.docker("plugin", "install", "--grant-all-permissions", "--disable", name)


def test_by_digest(daemon: LiveDaemon, server: RegistryServer, tmp_path: Path) -> None:
    name = f"{server.name}/tests/small"
    digest = publish(daemon, f"{name}:fixed", tmp_path / "c")
    daemon.docker("plugin", "install", "--grant-all-permissions", "--disable", f"{name}@{digest}")
    assert inspect(daemon, name)["PluginReference"] == f"{name}@{digest}"
    wrong = f"{name}@sha256:{'0' * 64}"
    assert daemon.docker("plugin", "install", "--grant-all-permissions", "--alias", "x", wrong, code=1).stderr


def test_registries_that_are_not_there_or_elsewhere(daemon: LiveDaemon, server: RegistryServer) -> None:
    docker = daemon.docker
    absent = docker("plugin", "install", "--grant-all-permissions", f"{server.name}/no/such:1", code=1).stderr
    assert "MANIFEST_UNKNOWN" in absent or "NAME_UNKNOWN" in absent
    nobody = docker("plugin", "install", "--grant-all-permissions", "127.0.0.1:1/a/b", code=1).stderr
    assert "cannot be reached" in nobody


# Of the password below, as htpasswd -B makes it.
USERS = "tester:$2b$04$annuHe9.md7y.Y8AuO0RB.RrL9GNRnxVQi/mcv5VQsNuXD3yY8Ulu\n"


def test_a_registry_that_wants_to_know_who_asks(daemon: LiveDaemon, tmp_path: Path) -> None:
    docker = daemon.docker
    with registry(tmp_path / "private", users=USERS) as server:
        name = f"{server.name}/tests/small:1"
        docker("plugin", "create", name, write_context(tmp_path / "c", small_config()))
        assert "authentication required" in docker("plugin", "push", name, code=1).stderr
        logins = daemon.home / "docker-config/config.json"
        logins.parent.mkdir(exist_ok=True)
        try:
            for password, told in (("wrong", "UNAUTHORIZED"), ("planted", "")):
                auth = base64.b64encode(f"tester:{password}".encode()).decode()
                logins.write_text(json.dumps({"auths": {server.name: {"auth": auth}}}))
                assert told in docker("plugin", "push", name, code=1 if told else 0).stderr
            docker("plugin", "rm", name)
            docker("plugin", "install", "--grant-all-permissions", "--disable", name)
        finally:
            logins.unlink()
    assert "planted" not in daemon.whole_log()
