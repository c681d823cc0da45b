"""docker-py as a stranger: what the SDK's users do, with nothing of ours between."""

import io
import tarfile
from collections.abc import Iterator

import docker
import docker.errors
import pytest
from docker import DockerClient
from docker.errors import APIError, NotFound
from docker.types import Mount, Ulimit

from support.daemon import LiveDaemon


@pytest.fixture
def client(daemon: LiveDaemon) -> Iterator[DockerClient]:
    made = docker.DockerClient(base_url=daemon.host, timeout=60)
    yield made
    made.close()


def test_run_gives_the_output_and_raises_on_failure(client: DockerClient) -> None:
    assert client.containers.run("busybox", ["echo", "hello"], remove=True) == b"hello\n"
    with pytest.raises(docker.errors.ContainerError) as failure:
        client.containers.run("busybox", ["sh", "-c", "echo no >&2; exit 3"], remove=True)
    assert failure.value.exit_status == 3
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("no-such-image")


def test_a_container_s_life(client: DockerClient) -> None:
    container = client.containers.run("busybox", ["sleep", "1000"], detach=True, name="app", labels={"a": "b"})
    assert container.status == "created"
    container.reload()
    assert container.status == "running"
    assert [one.name for one in client.containers.list(filters={"label": "a=b"})] == ["app"]
    code, output = container.exec_run(["sh", "-c", "echo out; echo err >&2; exit 4"], demux=True)
    assert (code, output) == (4, (b"out\n", b"err\n"))
    container.pause()
    container.unpause()
    assert "sleep" in str(container.top()["Processes"])
    container.stop(timeout=0)
    assert container.wait()["StatusCode"] == 137
    container.rename("other")
    container.remove()
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("other")


def test_logs_as_a_stream(client: DockerClient) -> None:
    container = client.containers.run(
        "busybox", ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done"], detach=True
    )
    assert b"".join(container.logs(stream=True, follow=True)) == b"1\n2\n3\n"
    assert container.logs(tail=1) == b"3\n"


def test_volumes_and_mounts(client: DockerClient, daemon: LiveDaemon) -> None:
    volume = client.volumes.create("data", labels={"tier": "db"})
    mounts = [Mount("/data", "data"), Mount("/tmp/memory", None, type="tmpfs", tmpfs_size=1 << 20)]
    client.containers.run("busybox", ["sh", "-c", "echo kept > /data/note"], mounts=mounts, remove=True)
    assert daemon.volume_data("data").joinpath("note").read_text() == "kept\n"
    seen = client.containers.run(
        "busybox", ["cat", "/d/note"], volumes={"data": {"bind": "/d", "mode": "ro"}}, remove=True
    )
    assert seen == b"kept\n"
    assert [one.name for one in client.volumes.list(filters={"label": "tier"})] == ["data"]
    holder = client.containers.create("busybox", "true", volumes=["data:/d"])
    with pytest.raises(docker.errors.APIError) as refused:
        volume.remove()
    assert refused.value.status_code == 409
    holder.remove()
    volume.remove()
    assert client.volumes.list() == []


def test_everything_about_volumes(client: DockerClient) -> None:
    low = client.api
    made = low.create_volume(
        "data", driver="local", labels={"tier": "db"}, driver_opts={"type": "tmpfs", "device": "x"}
    )
    assert (made["Options"], made["Labels"], made["Scope"]) == (
        {"type": "tmpfs", "device": "x"},
        {"tier": "db"},
        "local",
    )
    assert low.create_volume("data") == made
    assert low.inspect_volume("data")["Mountpoint"].endswith("/volumes/data/_data")
    nameless = client.volumes.create()
    assert len(nameless.name) == 64 and nameless.attrs["Labels"] == {"com.docker.volume.anonymous": ""}
    client.volumes.create("plain")
    assert sorted(volume.name for volume in client.volumes.list()) == sorted(["data", "plain", nameless.name])
    assert [volume.name for volume in client.volumes.list(filters={"dangling": True, "name": "pla"})] == ["plain"]
    assert low.volumes()["Warnings"] is None
    mounts = [Mount("/v", "plain", read_only=True), Mount("/t", None, type="tmpfs", tmpfs_size="1m")]
    holder = client.containers.create("busybox", "true", mounts=mounts, volumes={"data": {"bind": "/d", "mode": "rw"}})
    assert {(each["Type"], each.get("Name"), each["RW"]) for each in holder.attrs["Mounts"]} == {
        ("volume", "plain", False),
        ("volume", "data", True),
        ("tmpfs", None, True),
    }
    usage = {each["Name"]: each["UsageData"] for each in client.df()["Volumes"]}
    assert usage["plain"] == {"Size": 0, "RefCount": 1} and "data" not in usage
    for name, kind, status in (("plain", APIError, 409), ("ghost", NotFound, 404)):
        with pytest.raises(kind) as refused:
            low.remove_volume(name)
        assert refused.value.status_code == status
    with pytest.raises(APIError) as wrong:
        low.create_volume("a/b")
    assert wrong.value.status_code == 400 and "includes invalid characters" in wrong.value.explanation
    with pytest.raises(APIError) as unknown:
        client.volumes.list(filters={"colour": "red"})
    assert unknown.value.explanation.startswith("invalid filter 'colour'")
    assert client.volumes.prune()["VolumesDeleted"] == [nameless.name]
    holder.remove(v=True)
    assert client.volumes.prune(filters={"all": True})["VolumesDeleted"] == ["plain"]
    client.volumes.get("data").remove()
    assert client.volumes.list() == []


def test_files_in_and_out(client: DockerClient) -> None:
    container = client.containers.create("busybox", "true")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("note")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"hello"))
    assert container.put_archive("/tmp", archive.getvalue())
    chunks, stat = container.get_archive("/tmp/note")
    assert (stat["name"], stat["size"]) == ("note", 5)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        member = tar.extractfile("note")
        assert member
        assert member.read() == b"hello"
    assert {"Path": "/tmp/note", "Kind": 1} in container.diff()


def test_images(client: DockerClient) -> None:
    image = client.images.get("busybox")
    assert image.tags == ["busybox:latest"]
    assert image.tag("copy", "1")
    saved = b"".join(client.images.get("copy:1").save(named="copy:1"))
    client.images.remove("copy:1")
    (loaded,) = client.images.load(saved)
    assert (loaded.id, "copy:1" in loaded.tags) == (image.id, True)
    client.images.remove("copy:1")
    assert len(image.history()) == 1


def test_limits_and_events(client: DockerClient) -> None:
    limits = {"mem_limit": "32m", "pids_limit": 20, "ulimits": [Ulimit(name="nofile", soft=64, hard=64)]}
    assert client.containers.run("busybox", ["sh", "-c", "ulimit -n"], remove=True, **limits) == b"64\n"
    begin = client.info()["SystemTime"]
    container = client.containers.create("busybox", "true")
    for event in client.events(decode=True, since=begin, filters={"type": "container", "event": "create"}):
        if event["Actor"]["ID"] == container.id:
            break
    assert client.version()["ApiVersion"]
    assert client.df()["Volumes"] in ([], None)
