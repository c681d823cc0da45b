"""Calls and their answers, over the wire."""

import base64
import json
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from support.edge import IMAGE_ID, Fakes, Served


def filters(**wanted: Any) -> str:
    return quote(json.dumps(wanted))


# Volumes


def test_a_volume_is_created_shown_listed_and_removed(served: Served) -> None:
    created = served.call("POST", "/volumes/create", {"Name": "data", "Labels": {"a": "b"}})
    assert created.status == 201
    inspected = served.call("GET", "/volumes/data").json
    assert inspected == {**created.json, "Status": {"Health": "ok", "Users": []}}
    assert list(created.json) == ["CreatedAt", "Driver", "Labels", "Mountpoint", "Name", "Options", "Scope"]
    assert served.call("GET", "/volumes").json == {"Volumes": [created.json], "Warnings": None}
    removed = served.call("DELETE", "/volumes/data")
    assert (removed.status, removed.body) == (204, b"")
    assert served.call("DELETE", "/volumes/data").status == 404


def test_no_body_creates_an_anonymous_volume(served: Served) -> None:
    created = served.call("POST", "/volumes/create")
    assert created.status == 201
    assert len(created.json["Name"]) == 64


def test_a_held_volume_is_not_removed_not_even_by_force(served: Served) -> None:
    served.call("POST", "/volumes/create", {"Name": "data", "Labels": {"held": "yes"}})
    answer = served.call("DELETE", "/volumes/data?force=1")
    assert (answer.status, answer.message) == (409, "remove data: volume is in use - [" + "c" * 64 + "]")


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b"{}", "text/plain", "unsupported Content-Type header (text/plain): must be 'application/json'"),
        (b"{", "application/json", "invalid JSON: "),
        (b"{} {}", "application/json", "unexpected content after JSON"),
        (b'{"Name": 1}', "application/json; charset=utf-8", "invalid JSON: "),
    ],
)
def test_a_wrong_body_is_refused(served: Served, body: bytes, content_type: str, text: str) -> None:
    answer = served.call("POST", "/volumes/create", body, Content_Type=content_type)
    assert answer.status == 400
    assert answer.message.startswith(text)


def test_filters_come_in_two_spellings(served: Served, fakes: Fakes) -> None:
    served.call("GET", f"/volumes?filters={filters(label=['a', 'b'])}")
    served.call("GET", f"/volumes?filters={filters(label={'a': True, 'b': True})}")
    assert fakes.volumes.asked == [{"label": ("a", "b")}] * 2


@pytest.mark.parametrize("wrong", ["x", "[]", '{"a":1}', '{"a":[1]}', "[" * 5000])
def test_wrong_filters_are_refused(served: Served, wrong: str) -> None:
    answer = served.call("GET", f"/volumes?filters={quote(wrong)}")
    assert (answer.status, answer.message) == (400, "error reading volume filters: invalid filter")
    assert served.call("GET", f"/containers/json?filters={quote(wrong)}").status == 400


@pytest.mark.parametrize(
    ("version", "wanted", "include_named"),
    [("v1.41", {}, True), ("v1.42", {}, False), ("v1.42", {"all": ["1"]}, True), ("v1.42", {"all": ["false"]}, False)],
)
def test_prune_takes_named_volumes_only_when_asked(
    served: Served, fakes: Fakes, version: str, wanted: dict[str, Any], include_named: bool
) -> None:
    answer = served.call("POST", f"/{version}/volumes/prune?filters={filters(**wanted)}")
    assert answer.json == {"VolumesDeleted": ["gone"], "SpaceReclaimed": 7}
    assert fakes.volumes.asked == [({}, include_named)]


@pytest.mark.parametrize(
    ("values", "text"), [(["maybe"], "invalid filter 'all=[maybe]'"), (["1", "0"], "only one value is expected")]
)
def test_prune_refuses_what_is_no_truth(served: Served, values: list[str], text: str) -> None:
    answer = served.call("POST", f"/volumes/prune?filters={filters(all=values)}")
    assert answer.status == 400
    assert text in answer.message


def test_cluster_volumes_are_unavailable(served: Served) -> None:
    assert served.call("PUT", "/volumes/x?version=1").status == 503
    assert served.call("PUT", "/v1.41/volumes/x?version=1").message.endswith("requires minimum API version 1.42")
    assert served.call("POST", "/volumes/create", {"ClusterVolumeSpec": {}}).status == 503
    assert served.call("POST", "/v1.41/volumes/create", {"ClusterVolumeSpec": {}}).status == 201


# Containers


def test_a_container_is_created_and_inspected(served: Served, fakes: Fakes) -> None:
    body = {"Image": "busybox", "Cmd": ["sleep", "1"], "HostConfig": {"Binds": ["data:/x"], "BlkioWeight": 1}}
    answer = served.call("POST", "/containers/create?name=/app", body)
    assert answer.status == 201
    assert answer.json["Warnings"] == ["BlkioWeight: block I/O limits are not applied", "mind the gap"]
    shown = served.call("GET", "/containers/app/json").json
    assert shown["Id"] == answer.json["Id"]
    assert (shown["Name"], shown["Path"], shown["Args"]) == ("/app", "sleep", ["1"])
    assert shown["HostConfig"]["Binds"] == ["data:/x"]
    assert shown["HostConfig"]["Runtime"] == "crun"
    assert shown["GraphDriver"]["Data"] == {"UpperDir": "/up"}
    sized = served.call("GET", "/containers/app/json?size=1").json
    assert (sized["SizeRw"], sized["SizeRootFs"]) == (5, 105)


def test_a_missing_image_says_so_in_the_words_that_make_clients_pull(served: Served) -> None:
    answer = served.call("POST", "/containers/create", {"Image": "nosuch"})
    assert (answer.status, answer.message) == (404, "No such image: nosuch:latest")
    pull = served.call("POST", "/images/create?fromImage=nosuch&tag=latest")
    assert pull.status == 404
    assert "repository does not exist" in pull.message
    assert "docker load" in pull.message


def test_start_tells_started_from_running(served: Served, fakes: Fakes) -> None:
    fakes.container("app", running=False)
    assert served.call("POST", "/containers/app/start").status == 204
    assert served.call("POST", "/containers/app/start").status == 304


def test_a_program_that_is_missing_is_not_a_missing_container(served: Served, fakes: Fakes) -> None:
    fakes.container("missing-program", running=False)
    answer = served.call("POST", "/containers/missing-program/start")
    assert answer.status == 400
    assert "executable file not found in $PATH" in answer.message
    assert served.call("POST", "/containers/nosuch/start").status == 404


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", ({}, False, 0)),
        ("all=1", ({}, True, 0)),
        ("all=False", ({}, False, 0)),
        ("limit=2", ({}, True, 2)),
        ("filters=" + filters(status=["exited"]), ({"status": ("exited",)}, True, 0)),
        ("filters=" + filters(volume=["data"]), ({"volume": ("data",)}, False, 0)),
    ],
)
def test_listing_passes_on_what_was_asked(served: Served, fakes: Fakes, query: str, asked: Any) -> None:
    assert served.call("GET", f"/containers/json?{query}").status == 200
    assert fakes.containers.asked == [asked]


def test_stop_takes_a_timeout_and_a_signal(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    fakes.containers.stop_gate.set()
    assert served.call("POST", "/containers/app/stop?t=3&signal=INT").status == 204
    assert served.call("POST", "/v1.41/containers/app/stop?signal=INT").status == 204
    assert fakes.containers.asked == [(3, "INT"), (None, "")]
    assert served.call("POST", "/containers/app/stop?t=soon").status == 400


def test_removal_passes_on_its_flags(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    assert served.call("DELETE", "/containers/app?v=1&force=true").status == 204
    assert fakes.containers.asked == [(True, True)]


def test_a_paths_facts_come_in_a_header(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    for method in ("HEAD", "GET"):
        answer = served.call(method, "/containers/app/archive?path=/etc")
        assert answer.status == 200
        facts = json.loads(base64.b64decode(answer.headers["x-docker-container-path-stat"]))
        assert facts["name"] == "etc"
        assert facts["mode"] == (1 << 31) | (1 << 20) | 0o755, "a directory with the sticky bit, as Go numbers them"
    assert served.call("GET", "/containers/app/archive?path=/etc").body == b"tar of /etc"
    assert served.call("GET", "/containers/app/archive?path=/nosuch").status == 404
    assert served.call("HEAD", "/containers/app/archive").status == 400


def test_an_archive_is_put(served: Served, fakes: Fakes) -> None:
    fakes.container("app")
    answer = served.call("PUT", "/containers/app/archive?path=/x&noOverwriteDirNonDir=true&copyUIDGID=1", b"tar")
    assert answer.status == 200
    assert fakes.archives.received == [("/x", b"tar", True, True)]


def test_resize_needs_whole_numbers(served: Served, fakes: Fakes) -> None:
    assert served.call("POST", "/containers/app/resize?h=24&w=80").status == 200
    assert fakes.sessions.resized == [(24, 80)]
    assert served.call("POST", "/containers/app/resize?h=x&w=80").status == 400


# Images


def test_an_import_gets_its_changes_and_the_whole_body(served: Served, fakes: Fakes) -> None:
    path = f"/images/create?fromSrc=-&repo=mine&tag=1&message=hi&changes={quote('CMD sh')}&changes={quote('ENV a=b')}"
    answer = served.call("POST", path, b"tar" * 1000, Content_Type="text/plain")
    assert msgspec.json.decode(answer.body) == {"status": IMAGE_ID}
    assert fakes.images.received == [(b"tar" * 1000, "mine:1", ("CMD sh", "ENV a=b"), "hi")]


def test_an_empty_import_is_refused(served: Served) -> None:
    assert served.call("POST", "/images/create?fromSrc=-&repo=mine", b"").status == 400


def test_images_are_shown_as_each_version_expects(served: Served) -> None:
    newest = served.call("GET", "/images/busybox/json").json
    assert newest["Config"]["Cmd"] == ["sh"]
    assert "VirtualSize" not in newest
    assert served.call("GET", "/v1.43/images/busybox/json").json["VirtualSize"] == 100
    assert served.call("GET", "/images/json").json[0]["RepoTags"] == ["busybox:latest"]
    assert served.call("GET", "/images/nosuch/json").message == "No such image: nosuch"


def test_save_fails_before_it_sends_or_sends_all(served: Served) -> None:
    assert served.call("GET", "/images/get?names=busybox&names=nosuch").status == 404
    assert served.call("GET", "/images/get").status == 400
    answer = served.call("GET", "/images/busybox/get")
    assert answer.body == b"".join(bytes([number]) * 100_000 for number in range(30))


# The rest


def test_networks_are_shown_and_not_made(served: Served) -> None:
    (network,) = served.call("GET", "/networks").json
    assert network["IPAM"]["Config"] == [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
    assert served.call("GET", "/networks/bridge").json["Containers"] == {}
    assert served.call("GET", "/networks/nosuch").message == "network nosuch not found"
    assert served.call("POST", "/networks/create", {"Name": "mine"}).status == 501


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/swarm", 503),
        ("POST", "/swarm/init", 503),
        ("GET", "/nodes", 503),
        ("GET", "/services/x/logs", 503),
        ("DELETE", "/secrets/x", 503),
        ("GET", "/plugins", 200),
        ("GET", "/plugins/x/json", 404),
        ("POST", "/auth", 501),
        ("GET", "/distribution/busybox/json", 501),
        ("GET", "/images/search?term=x", 501),
        ("POST", "/build", 501),
        ("POST", "/session", 404),
        ("POST", "/grpc", 404),
    ],
)
def test_what_is_not_there_is_refused_as_clients_expect(served: Served, method: str, path: str, status: int) -> None:
    assert served.call(method, path).status == status


def test_info_and_version_name_the_parts(served: Served) -> None:
    info = served.call("GET", "/info").json
    assert (info["Driver"], info["DefaultRuntime"], info["Swarm"]["LocalNodeState"]) == ("overlay2", "crun", "inactive")
    version = served.call("GET", "/version").json
    assert (version["ApiVersion"], version["MinAPIVersion"]) == ("1.52", "1.24")
    assert [part["Name"] for part in version["Components"]] == ["Engine", "crun"]


def test_disk_usage_is_told_by_kind(served: Served) -> None:
    whole = served.call("GET", "/system/df").json
    assert whole["Images"][0]["Id"] == IMAGE_ID
    assert set(served.call("GET", "/v1.51/system/df?type=image").json) == {"LayersSize", "Images"}
    assert set(served.call("GET", "/v1.41/system/df?type=image").json) >= {"Containers", "Volumes", "BuilderSize"}
    assert served.call("GET", "/system/df?type=dust").message == "unknown object type: dust"


def test_events_refuse_a_since_after_until(served: Served) -> None:
    assert served.call("GET", "/events?since=20&until=10").status == 400
    assert served.call("GET", "/events?since=yesterday").status == 400
