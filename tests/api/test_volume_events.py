"""Events of volumes: which, in which order, with which attributes."""

from pathlib import Path
from typing import Any

from support.asking import BY_PEER, Api


def told(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["Action"], event["Actor"]["ID"]) for event in events]


def test_the_life_of_a_volume(api: Api) -> None:
    with api.listening(type=["volume"]) as events:
        made = api.volume("data", Labels={"not": "told"})
        container = api.daemon.docker("create", "-v", "data:/x:ro", "busybox", "true").stdout.strip()
        api.daemon.docker("start", "-a", container)
        api.daemon.docker("rm", container)
        api.ok("DELETE", f"/volumes/{made['Name']}")
        said = events.until("destroy")
    if BY_PEER:
        del said[1]  # Docker 20.10 tells of the creation again when a container asks for the volume
    assert told(said) == [("create", "data"), ("mount", "data"), ("unmount", "data"), ("destroy", "data")]
    create, mount, unmount, destroy = (event["Actor"]["Attributes"] for event in said)
    assert create == destroy == {"driver": "local"}
    assert unmount == {"driver": "local", "container": container}
    assert mount == {**unmount, "destination": "/x", "read/write": "false", "propagation": ""}
    assert {(event["Type"], event["scope"]) for event in said} == {("volume", "local")}
    assert all(event["time"] == event["timeNano"] // 10**9 for event in said)


def test_creating_the_container_creates_the_volume_and_mounts_nothing(api: Api) -> None:
    """Copy-up at create mounts out of everybody's sight."""
    with api.listening(type=["volume"]) as events:
        api.daemon.docker("create", "--name", "app", "-v", "data:/etc", "-v", "/nameless", "busybox", "true")
        nameless = next(m["Name"] for m in api.daemon.inspect("container", "app")["Mounts"] if m["Name"] != "data")
        api.daemon.docker("rm", "-v", "app")
        said = told(events.until("destroy"))
    assert sorted(said[:-1]) == sorted([("create", "data"), ("create", nameless)])
    assert said[-1] == ("destroy", nameless)


def test_run_with_rm_tells_all_of_it(api: Api) -> None:
    with api.listening(type=["volume"]) as events:
        api.daemon.docker("run", "--rm", "-v", "/x", "busybox", "true")
        said = events.until("destroy")
    assert [event["Action"] for event in said] == ["create", "mount", "unmount", "destroy"]
    assert len({event["Actor"]["ID"] for event in said}) == 1


def test_a_bind_is_no_volume(api: Api, tmp_path: Path) -> None:
    with api.listening(type=["volume"]) as events:
        api.daemon.docker("run", "--rm", "-v", f"{tmp_path}:/x", "busybox", "true")
        api.volume("mark")
        assert told(events.until("create")) == [("create", "mark")]


def test_a_copy_mounts_and_unmounts(api: Api, tmp_path: Path) -> None:
    api.daemon.docker("create", "--name", "app", "-v", "data:/x", "busybox", "true")
    (tmp_path / "note").write_text("hello")
    with api.listening(type=["volume"], event=["mount", "unmount"]) as events:
        api.daemon.docker("cp", tmp_path / "note", "app:/x/note")
        said = events.until("unmount")
    assert [event["Action"] for event in said] == ["mount", "unmount"]
    assert said[0]["Actor"]["Attributes"]["destination"] == "/x"


def test_a_copy_with_a_running_container_mounts_nothing_more(modern: Api, tmp_path: Path) -> None:
    """Docker mounts and unmounts each volume once more for it, which has let drivers unmount under the container."""
    modern.daemon.docker("run", "-d", "--name", "app", "-v", "data:/x", "busybox", "sleep", "1000")
    (tmp_path / "note").write_text("hello")
    with modern.listening(type=["volume"]) as events:
        modern.daemon.docker("cp", tmp_path / "note", "app:/x/note")
        modern.volume("mark")
        assert told(events.until("create")) == [("create", "mark")]
    assert modern.daemon.volume_data("data").joinpath("note").read_text() == "hello"


def test_events_are_found_by_volume(api: Api) -> None:
    with api.listening(volume=["two"]) as events:
        api.volume("one")
        api.volume("two")
        api.ok("DELETE", "/volumes/one")
        api.ok("DELETE", "/volumes/two")
        assert told(events.until("destroy")) == [("create", "two"), ("destroy", "two")]
