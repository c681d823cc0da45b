"""An Orlop driver serves Docker's own daemon and Podman, on the same host."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.daemon import CHECKOUT, docker_commands, orlop_command, run_command, wait_for
from support.dockerd import Dockerd
from support.images import write_busybox_tar
from support.lent_driver import LentDriver, Podman
from support.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed, seaweed

PYTHON = {**os.environ, "PYTHONPATH": str(CHECKOUT / "src")}

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not shutil.which("podman"), reason="needs podman"),
]


@pytest.fixture(scope="module")
def plugin() -> Iterator[LentDriver]:
    plugin = LentDriver()
    plugin.start()
    yield plugin
    plugin.close()


@pytest.fixture(scope="module")
def cloud() -> Iterator[LentDriver]:
    plugin = LentDriver("cloud")
    plugin.start()
    for name, value in (("s3id", ACCESS_KEY), ("s3key", SECRET_KEY)):
        said = run_command([*orlop_command(), "secret", "create", "--root", plugin.root, name], stdin=value, env=PYTHON)
        assert said.stdout == f"{name}\n"
    yield plugin
    plugin.close()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with seaweed(tmp_path_factory.mktemp("cloud") / "weed") as found:
        yield found


@pytest.fixture(scope="module")
def engines(
    plugin: LentDriver, cloud: LentDriver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Dockerd | None, Podman]]:
    busybox = write_busybox_tar(tmp_path_factory.mktemp("image") / "busybox.tar")
    podman = Podman(plugin, cloud)
    dockerd = Dockerd(next(iter(docker_commands().values()))) if Path("/usr/sbin/dockerd").exists() else None
    with ExitStack() as stack:
        stack.callback(podman.close)
        podman("import", busybox, "busybox")
        if dockerd:
            stack.callback(dockerd.close)
            dockerd.start()
            dockerd.docker("import", busybox, "busybox")
        yield dockerd, podman


@pytest.fixture(autouse=True)
def nothing_stays(engines: tuple[Dockerd | None, Podman], plugin: LentDriver, cloud: LentDriver) -> Iterator[None]:
    yield
    for engine in filter(None, engines):
        engine.clear()
    wait_for("all to be let go of", lambda: not plugin.mounts() and not cloud.mounts())


@pytest.fixture
def dockerd(engines: tuple[Dockerd | None, Podman]) -> Dockerd:
    return engines[0] or pytest.skip("needs dockerd")


@pytest.fixture
def podman(engines: tuple[Dockerd | None, Podman]) -> Podman:
    return engines[1]


def bucket_options(storage: Seaweed, bucket: str) -> list[str]:
    storage.make_bucket(bucket)
    options = ("type=s3", f"endpoint={storage.endpoint}", f"bucket={bucket}")
    secrets = ("access-key=secret://s3id", "secret-key=secret://s3key")
    return [word for option in (*options, *secrets) for word in ("-o", option)]


def test_docker_makes_uses_shares_and_removes_a_volume(plugin: LentDriver, dockerd: Dockerd) -> None:
    docker = dockerd.docker
    docker("volume", "create", "-d", plugin.plugin, "-o", "size=20m", "db")
    refused = docker("volume", "create", "-d", plugin.plugin, "-o", "sze=20m", "other", code=1).stderr
    assert 'invalid option: "sze"' in refused
    assert dockerd.inspect("volume", "db")["Status"] == {"Driver": "local", "Health": "ok", "Mounts": 0}
    docker("run", "-d", "--name", "one", "-v", "db:/d", "busybox", "sleep", "1000")
    said = docker("run", "--rm", "-v", "db:/d", "busybox", "sh", "-c", "echo shared > /d/f; df -k /d | tail -1").stdout
    assert int(said.split()[1]) == 20480
    assert docker("exec", "one", "cat", "/d/f").stdout == "shared\n"
    assert dockerd.inspect("volume", "db")["Status"]["Mounts"] == 1
    docker("rm", "-f", "one")
    assert not plugin.mounts()
    docker("volume", "rm", "db")
    assert plugin.called("List") == {"Volumes": [], "Err": ""}
    docker("volume", "create", "-d", plugin.plugin, "-o", "restore=db", "db")
    assert docker("run", "--rm", "-v", "db:/d", "busybox", "cat", "/d/f").stdout == "shared\n"


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_docker_containers_go_on_while_the_plugin_is_restarted(plugin: LentDriver, dockerd: Dockerd, end: str) -> None:
    docker = dockerd.docker
    docker("volume", "create", "-d", plugin.plugin, "-o", "size=20m", "db")
    docker("run", "-d", "--name", "one", "-v", "db:/d", "busybox", "sh", "-c", "echo kept > /d/f; sleep 1000")
    wait_for("the file", lambda: docker("exec", "one", "cat", "/d/f", code=None).stdout == "kept\n")
    getattr(plugin, end)()
    assert docker("exec", "one", "sh", "-c", "echo more >> /d/f; cat /d/f").stdout == "kept\nmore\n"
    plugin.start()
    # Copying mounts once more by the id of the running container, and unmounts it.
    assert "more" in docker("cp", "one:/d/f", "-").stdout
    assert docker("exec", "one", "cat", "/d/f").stdout == "kept\nmore\n"
    assert "in use" in plugin.refused("Remove", Name="db")
    docker("rm", "-f", "one")
    assert not plugin.mounts()
    assert docker("run", "--rm", "-v", "db:/d", "busybox", "cat", "/d/f").stdout == "kept\nmore\n"


def test_docker_finds_a_plugin_that_comes_after_it_and_forgets_no_volume(plugin: LentDriver, dockerd: Dockerd) -> None:
    docker = dockerd.docker
    docker("volume", "create", "-d", plugin.plugin, "db")
    docker("create", "--name", "one", "-v", "db:/d", "busybox", "sh", "-c", "cat /d/f; echo kept > /d/f")
    docker("start", "-a", "one")
    plugin.stop()
    assert dockerd.stop() == 0
    dockerd.start(wait=False)
    wait_for("dockerd to miss the plugin", lambda: "Unable to locate plugin" in dockerd.whole_log())
    plugin.start()
    dockerd.wait_until_it_answers()
    assert docker("start", "-a", "one").stdout == "kept\n"
    assert docker("volume", "ls", "-q").stdout == "db\n"


def test_podman_makes_uses_shares_and_removes_a_volume(plugin: LentDriver, podman: Podman) -> None:
    podman("volume", "create", "--driver", plugin.plugin, "-o", "size=20m", "db")
    refused = podman("volume", "create", "--driver", plugin.plugin, "-o", "sze=20m", "other", code=125).stderr
    assert 'invalid option: "sze"' in refused
    podman.run("-d", "--name", "one", "-v", "db:/d", "busybox", "sleep", "1000")
    said = podman.run("--rm", "-v", "db:/d", "busybox", "sh", "-c", "echo shared > /d/f; df -k /d | tail -1").stdout
    assert int(said.split()[1]) == 20480
    plugin.restart()
    assert podman("exec", "one", "cat", "/d/f").stdout == "shared\n"
    assert "in use" in plugin.refused("Remove", Name="db")
    podman("rm", "-f", "-t", "0", "one")
    assert not plugin.mounts()
    podman("volume", "rm", "db")
    assert plugin.called("List") == {"Volumes": [], "Err": ""}
    podman("volume", "create", "--driver", plugin.plugin, "-o", "restore=db", "db")
    assert podman.run("--rm", "-v", "db:/d", "busybox", "cat", "/d/f").stdout == "shared\n"


def test_docker_and_podman_share_a_bucket(
    cloud: LentDriver, storage: Seaweed, dockerd: Dockerd, podman: Podman
) -> None:
    words = bucket_options(storage, "photos")
    dockerd.docker("volume", "create", "-d", cloud.plugin, *words, "photos")
    dockerd.docker("run", "--rm", "-v", "photos:/p", "busybox", "sh", "-c", "echo hi > /p/a")
    assert storage.read("photos/a") == "hi\n"
    dockerd.docker("run", "-d", "--name", "one", "-v", "photos:/p", "busybox", "sleep", "1000")
    podman("volume", "create", "--driver", cloud.plugin, *words, "photos")
    cloud.restart()
    podman.run("--rm", "-v", "photos:/p", "busybox", "sh", "-c", "cat /p/a; echo ho > /p/b")
    assert dockerd.docker("exec", "one", "cat", "/p/b").stdout == "ho\n"
    wait_for("the upload", lambda: dockerd.inspect("volume", "photos")["Status"]["Pending"]["Files"] == 0)
    used = run_command([*orlop_command(), "secret", "rm", "--root", cloud.root, "s3key"], code=1, env=PYTHON)
    assert "volumes need it: photos" in used.stderr
    dockerd.docker("rm", "-f", "one")
    assert storage.names("photos") == ["a", "b"]
    shown = [dockerd.docker("volume", "inspect", "photos").stdout, podman("volume", "inspect", "photos").stdout]
    assert SECRET_KEY not in "".join((*shown, cloud.logs(), dockerd.whole_log()))


def test_podman_finds_a_mount_ready_that_took_too_long(cloud: LentDriver, storage: Seaweed, podman: Podman) -> None:
    podman("volume", "create", "--driver", cloud.plugin, *bucket_options(storage, "slow"), "slow")
    storage.pause()
    try:
        refused = podman.run("--rm", "-v", "slow:/p", "busybox", "true", code=126).stderr
        assert "VolumeDriver.Mount" in refused and "deadline exceeded" in refused
    finally:
        storage.go_on()
    wait_for("the late mount", lambda: cloud.called("Get", Name="slow")["Volume"]["Status"]["Mounts"] == 1)
    podman.run("--rm", "-v", "slow:/p", "busybox", "sh", "-c", "echo hi > /p/a")
    assert storage.read("slow/a") == "hi\n"
    assert not cloud.mounts()


def test_docker_and_podman_share_a_volume(plugin: LentDriver, dockerd: Dockerd, podman: Podman) -> None:
    dockerd.docker("volume", "create", "-d", plugin.plugin, "-o", "size=20m", "db")
    dockerd.docker("run", "-d", "--name", "one", "-v", "db:/d", "busybox", "sleep", "1000")
    podman("volume", "create", "--driver", plugin.plugin, "db")
    podman.run("--rm", "-v", "db:/d", "busybox", "sh", "-c", "echo from podman > /d/f")
    assert dockerd.docker("exec", "one", "cat", "/d/f").stdout == "from podman\n"
    refused = podman("volume", "rm", "db", code=None)
    assert "in use" in refused.stderr
    assert dockerd.docker("exec", "one", "cat", "/d/f").stdout == "from podman\n"
    dockerd.docker("rm", "-f", "one")


def program_of(plugin: LentDriver) -> int:
    (record,) = plugin.exec_root.glob("programs/cloud/*/program.json")
    return int(json.loads(record.read_text())["pid"])


def test_containers_of_both_engines_get_their_files_back_when_what_mounts_them_dies(
    cloud: LentDriver, dockerd: Dockerd, podman: Podman, tmp_path: Path
) -> None:
    far = tmp_path / "far"
    (far / "part").mkdir(parents=True)
    (far / "a").write_text("kept\n")
    docker = dockerd.docker
    docker("volume", "create", "-d", cloud.plugin, "-o", "type=alias", "-o", f"rclone.remote={far}", "far")
    podman("volume", "create", "--driver", cloud.plugin, "far")
    docker("run", "-d", "--name", "writer", "-v", "far:/f", "busybox", "sleep", "1000")
    docker("run", "-d", "--name", "reader", "-v", "far:/f:ro", "busybox", "sleep", "1000")
    podman.run("-d", "--name", "pod", "-v", "far:/f", "busybox", "sleep", "1000")
    assert podman("exec", "pod", "cat", "/f/a").stdout == "kept\n"
    aside = far.rename(tmp_path / "aside")
    os.kill(program_of(cloud), signal.SIGKILL)
    wait_for("it to be told", lambda: dockerd.inspect("volume", "far")["Status"]["Health"].startswith("stale"))
    assert "not connected" in docker("exec", "writer", "sh", "-c", "echo lost > /f/b", code=1).stderr.lower()
    cloud.restart()
    aside.rename(far)
    wait_for("docker's to read", lambda: docker("exec", "writer", "cat", "/f/a", code=None).stdout == "kept\n", 40)
    wait_for("podman's to read", lambda: podman("exec", "pod", "cat", "/f/a", code=None).stdout == "kept\n")
    wait_for("it to be well", lambda: dockerd.inspect("volume", "far")["Status"]["Health"] == "ok")
    docker("exec", "writer", "sh", "-c", "echo new > /f/c")
    assert "Read-only" in docker("exec", "reader", "touch", "/f/d", code=1).stderr
    docker("rm", "-f", "writer", "reader")
    podman("rm", "-f", "-t", "0", "pod")
    assert (far / "c").read_text() == "new\n" and not (far / "b").exists()


def test_what_only_our_own_containers_can_be_done_is_refused(cloud: LentDriver, dockerd: Dockerd) -> None:
    options = ("-o", "type=alias", "-o", "rclone.remote=/tmp", "-o", "on-hang=freeze")
    said = dockerd.docker("volume", "create", "-d", cloud.plugin, *options, "far", code=1).stderr
    assert "on-hang=freeze is about containers, and those are another engine's" in said
