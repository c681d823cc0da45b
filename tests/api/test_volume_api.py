"""Docker's volume API to the letter: transport, the volume object, what create and delete mean, each error.

Played with 1.41 of the API, so that ORLOP_TEST_PEER=/usr/sbin/dockerd can say whether a test tells the truth about
Docker 20.10; `modern` is what newer Docker does.
"""

import json
import re
import time
from datetime import datetime
from pathlib import Path

import pytest

from orlop.kernel.mounts import bind, unmount
from support.asking import BY_PEER, Api, ask
from support.daemon import wait_for

# Transport


def test_an_empty_body_means_all_defaults(modern: Api) -> None:
    status, _, text = ask(modern.daemon, "POST /v1.47/volumes/create")
    assert status == 201
    volume = json.loads(text)
    assert re.fullmatch("[0-9a-f]{64}", volume["Name"])
    assert (volume["Driver"], volume["Labels"]) == ("local", {"com.docker.volume.anonymous": ""})


@pytest.mark.parametrize(
    ("body", "content_type", "says"),
    [
        ('{"Name":"ab"}', "text/plain", r"unsupported Content-Type header \(text/plain\): must be 'application/json'"),
        ('{"Name":"ab"', "application/json", "invalid JSON: .+"),
        ("nonsense", "application/json", "invalid JSON: .+"),
        ('{"Name":7}', "application/json", "invalid JSON: .+"),
        ('{"Labels":["a"]}', "application/json", "invalid JSON: .+"),
        ('{"Name":"ab"} {"Name":"cd"}', "application/json", "unexpected content after JSON"),
        ('{"Name":"ab"}x', "application/json", "unexpected content after JSON"),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(modern: Api, body: str, content_type: str, says: str) -> None:
    status, headers, text = ask(modern.daemon, "POST /v1.47/volumes/create", body, content_type)
    assert status == 400
    assert headers["content-type"] == "application/json"
    assert re.fullmatch(says, json.loads(text)["message"])
    assert text.endswith("\n")
    assert modern.names() == []


def test_names_of_fields_in_any_case_and_unknown_fields(api: Api) -> None:
    status, _, text = ask(
        api.daemon,
        "POST /v1.41/volumes/create",
        '{"nAmE":"data","LABELS":{"Kept":"AsIs"},"driveropts":null,"Unknown":[1,{"x":2}]}',
        "application/json; charset=utf-8",
    )
    assert status == 201, text
    assert api.ok("GET", "/volumes/data")["Labels"] == {"Kept": "AsIs"}


def test_json_is_written_raw_and_ends_with_a_newline(api: Api) -> None:
    api.volume("data", Labels={"page": "<a href='x'>&</a>"})
    for request in ("GET /v1.41/volumes", "GET /v1.41/volumes/data"):
        _, _, text = ask(api.daemon, request)
        assert "<a href='x'>&</a>" in text
        assert text.endswith("}\n")


def test_every_answer_says_who_speaks(api: Api) -> None:
    for request in ("GET /v1.41/volumes", "GET /v1.41/volumes/ghost", "GET /volumes"):
        _, headers, _ = ask(api.daemon, request)
        assert {"server", "api-version", "ostype"} <= set(headers)
        assert headers["ostype"] == "linux"
        assert headers["content-type"] == "application/json"


@pytest.mark.parametrize("request_", ["PATCH /v1.41/volumes/data", "DELETE /v1.41/volumes", "GET /v1.41/volumen"])
def test_an_unknown_call_is_not_found(api: Api, request_: str) -> None:
    status, _, text = ask(api.daemon, request_)
    assert (status, json.loads(text)) == (404, {"message": "page not found"})


def test_a_call_younger_than_the_version_asked_for_is_refused(modern: Api) -> None:
    old = Api(modern.daemon, "1.24")
    assert old.refused(400, "POST", "/volumes/prune") == "POST /volumes/prune requires minimum API version 1.25"
    younger = Api(modern.daemon, "1.41").refused(400, "PUT", "/volumes/data", {})
    assert younger == "PUT /volumes/{name:.*} requires minimum API version 1.42"


# The volume object


def test_a_plain_volume_has_these_fields_and_no_others(api: Api) -> None:
    made = api.volume("data")
    root = str(api.daemon.data_root)
    wanted = {
        "Driver": "local",
        "Labels": None,
        "Mountpoint": f"{root}/volumes/data/_data",
        "Name": "data",
        "Options": None,
        "Scope": "local",
    }
    created_at = made.pop("CreatedAt")
    assert (made["Labels"] or None, made["Options"] or None) == (None, None)
    assert {**made, "Labels": None, "Options": None} == wanted
    assert abs(datetime.fromisoformat(created_at.replace("Z", "+00:00")).timestamp() - time.time()) < 60
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", created_at)
    inspected = api.ok("GET", "/volumes/data")
    listed = api.ok("GET", "/volumes")["Volumes"][0]
    for found in (inspected, listed):
        assert {**found, "Status": None} == {**wanted, "CreatedAt": created_at, "Status": None}
    assert "UsageData" not in inspected
    assert "Status" not in listed


def test_labels_and_options_are_null_unless_given(modern: Api) -> None:
    assert modern.volume("plain")["Labels"] is None
    assert modern.volume("plain")["Options"] is None
    assert modern.volume("empty", Labels={}, DriverOpts={})["Labels"] == {}
    assert modern.volume("one", Labels={"a": "b"})["Labels"] == {"a": "b"}
    assert modern.ok("GET", "/volumes", filters={"name": ["^plain$"]})["Warnings"] is None


def test_created_at_does_not_change_with_what_is_written(api: Api) -> None:
    before = api.volume("data")["CreatedAt"]
    api.daemon.docker("run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo x > /d/x; chmod 700 /d")
    assert api.ok("GET", "/volumes/data")["CreatedAt"] == before


def test_created_at_comes_back_with_a_removed_volume(modern: Api) -> None:
    before = modern.volume("data")["CreatedAt"]
    wait_for("another second", lambda: modern.volume("mark" + str(time.time_ns()))["CreatedAt"] != before)
    modern.ok("DELETE", "/volumes/data")
    modern.daemon.orlop("volume", "restore", "data")
    (modern.daemon.volume_data("data").parent).chmod(0o701)
    assert modern.ok("GET", "/volumes/data")["CreatedAt"] == before


def test_others_may_pass_through_and_not_look_around(modern: Api) -> None:
    modern.volume("data", DriverOpts={"type": "tmpfs", "device": "tmpfs"}, Labels={"a": "b"})
    top = modern.daemon.data_root / "volumes"
    modes = {
        path.name: f"{path.stat().st_mode & 0o7777:o}" for path in (top, *top.iterdir(), *(top / "data").iterdir())
    }
    assert (modes["volumes"], modes["data"], modes["_data"]) == ("701", "701", "755")
    assert {modes[".retired"], modes[".purging"], modes[".staging"]} == {"700"}
    assert {modes["opts.json"], modes["orlop.json"]} == {"600"}


def test_options_are_shown_as_given(api: Api) -> None:
    wish = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000"}
    api.volume("memory", DriverOpts=wish)
    assert api.ok("GET", "/volumes/memory")["Options"] == wish


def test_an_empty_list_is_a_list(api: Api) -> None:
    assert api.ok("GET", "/volumes")["Volumes"] == []
    assert api.prune() == []
    assert api.ok("POST", "/volumes/prune") == {"VolumesDeleted": [], "SpaceReclaimed": 0}


def test_a_listing_tells_each_change_at_once(api: Api) -> None:
    def listed() -> list[str]:
        return sorted(volume["Name"] for volume in api.ok("GET", "/volumes")["Volumes"])

    assert [listed(), listed()] == [[], []]
    api.volume("ab")
    assert [listed(), listed()] == [["ab"], ["ab"]]
    host = {"Binds": ["cd:/m"], "NetworkMode": "none"}
    made = api.ok("POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"], "HostConfig": host})
    assert listed() == ["ab", "cd"]
    api.ok("DELETE", f"/containers/{made['Id']}")
    api.ok("DELETE", "/volumes/cd")
    assert listed() == ["ab"]
    api.prune()
    assert listed() == []


# Create


def test_creating_again_answers_what_is_there_and_changes_nothing(modern: Api) -> None:
    api = modern
    first = api.volume("data", Labels={"a": "1"})
    with api.listening(type=["volume"]) as events:
        assert api.volume("data", Labels={"b": "2"}, DriverOpts={"type": "tmpfs", "device": "tmpfs"}) == first
        assert api.volume("data", Driver="local") == first
        api.volume("mark")
        assert [event["Actor"]["ID"] for event in events.until("create")] == ["mark"], "no event for what was there"
    assert api.ok("GET", "/volumes/data")["Options"] is None
    assert "volume data exists already: the options and labels asked for now are not applied" in api.daemon.logs()


def test_labels_of_an_anonymous_volume_are_kept_beside_its_mark(modern: Api) -> None:
    made = modern.volume("", Labels={"tier": "db"})
    assert made["Labels"] == {"tier": "db", "com.docker.volume.anonymous": ""}


GOOD_NAMES = ("thing.d", "hello-world", "name_with_underscore", "ab", "A1", "0x", "a" + "-" * 10, "Z.._-", "n" * 255)
BAD_NAMES = (
    *("name/with/slash", "./name", "../name", "...", ".hello", "/testvol", "hello world", "..", "-ab", "_ab"),
    *("ab\n", "a\tb", "nul\0l", "däta", "a:b", "a,b", "ab/", "\u202eab"),
)


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_name_of_the_grammar_is_taken(api: Api, name: str) -> None:
    assert api.volume(name)["Name"] == name
    assert api.names() == [name]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_outside_the_grammar_is_refused(api: Api, name: str) -> None:
    said = api.refused(400, "POST", "/volumes/create", {"Name": name})
    pattern = (
        r'create .*: ".*" includes invalid characters for a local volume name, only "\[a-zA-Z0-9\]\[a-zA-Z0-9_.-\]" '
        r"are allowed. If you intended to pass a host directory, use absolute path.*"
    )
    assert re.fullmatch(pattern, said, re.DOTALL)
    assert api.names() == []


@pytest.mark.parametrize("name", ["x", "~", "."])
def test_a_name_of_one_character_is_too_short(api: Api, name: str) -> None:
    said = api.refused(400, "POST", "/volumes/create", {"Name": name})
    short = f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
    assert said.startswith(short)


def test_a_name_too_long_for_the_file_system_is_refused(api: Api) -> None:
    status, answer = api.call("POST", "/volumes/create", {"Name": "n" * 256})
    assert status in (400, 500)
    assert "name" in answer["message"]
    assert api.names() == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"foo": "bar"}, 'create data: invalid option: "foo"'),
        ({"type": "nfs"}, 'create data: missing required option: "device"'),
        ({"device": "/srv"}, 'create data: missing required option: "type"'),
        ({"size": "many"}, "create data: invalid size: 'many'"),
    ],
)
def test_wrong_options_are_refused_and_nothing_is_made(api: Api, options: dict[str, str], says: str) -> None:
    status = 500 if BY_PEER and "size" in options else 400
    said = api.refused(status, "POST", "/volumes/create", {"Name": "data", "DriverOpts": options})
    assert said.startswith(says)
    assert api.names() == []


def test_a_port_in_a_cifs_address_is_refused(modern: Api) -> None:
    wish = {"type": "cifs", "device": "//server:445/share", "o": "username=u"}
    said = modern.refused(400, "POST", "/volumes/create", {"Name": "data", "DriverOpts": wish})
    assert said.startswith("create data: port not allowed in CIFS device URL, include 'port' in 'o='")


def test_a_driver_that_is_not_there_is_named_soon(api: Api) -> None:
    began = time.monotonic()
    said = api.refused(404, "POST", "/volumes/create", {"Name": "data", "Driver": "ghost"})
    assert 'data: error looking up volume plugin ghost: plugin "ghost" not found' in said
    assert BY_PEER or time.monotonic() - began < 10, "Docker tries for fifteen seconds"


def test_a_cluster_volume_needs_a_swarm(modern: Api) -> None:
    modern.refused(503, "POST", "/volumes/create", {"Name": "data", "Driver": "x", "ClusterVolumeSpec": {}})


# Inspect and delete


@pytest.mark.parametrize("name", ["ghost", "a%2Fb", "..", "%2e%2e%2fopt", "x" * 300, "a%00b", ".retired", ".staging"])
def test_an_unknown_volume_is_not_found(modern: Api, name: str) -> None:
    api = modern
    for method in ("GET", "DELETE"):
        status, _, text = ask(api.daemon, f"{method} /v1.41/volumes/{name}")
        assert status == 404, text
        assert "no such volume" in text
    assert ask(api.daemon, f"DELETE /v1.41/volumes/{name}?force=1")[0] == 204


def test_the_empty_name_is_no_volume(api: Api) -> None:
    assert api.refused(404, "GET", "/volumes/").replace("get:", "get :") == "get : no such volume"


def test_the_unknown_is_named(api: Api) -> None:
    assert api.refused(404, "GET", "/volumes/ghost") == "get ghost: no such volume"
    assert api.refused(404, "DELETE", "/volumes/ghost") == "get ghost: no such volume"


def test_delete_answers_204_and_force_is_content_with_nothing(api: Api) -> None:
    api.volume("data")
    assert api.call("DELETE", "/volumes/data") == (204, None)
    assert api.call("DELETE", "/volumes/data", force="1") == (204, None)
    for no in ("0", "no", "False", "none", ""):
        assert api.call("DELETE", "/volumes/data", force=no)[0] == 404, no
    assert api.call("DELETE", "/volumes/data", force="anything")[0] == 204


def test_in_use_is_refused_each_time_and_by_force_naming_all(api: Api) -> None:
    ids = {api.daemon.docker("create", "-v", "data:/x", "busybox", "true").stdout.strip() for _ in range(2)}
    for force in ("0", "1", "1"):
        said = api.refused(409, "DELETE", "/volumes/data", force=force)
        found = re.match(r"remove data: volume is in use - \[(\w{64}), (\w{64})\]", said)
        assert found
        assert set(found.groups()) == ids


def test_something_mounted_below_is_refused_and_not_deleted(modern: Api) -> None:
    mountpoint = Path(modern.volume("data")["Mountpoint"])
    (mountpoint / "note").write_text("kept")
    (mountpoint / "share").mkdir()
    daemon = modern.daemon
    daemon.docker("run", "-d", "--name", "writer", "-v", "shared:/s", "busybox", "sleep", "1000")
    (daemon.volume_data("shared") / "remote").write_text("not ours to clean")
    bind(daemon.volume_data("shared"), mountpoint / "share")
    try:
        for force in ("0", "1"):
            said = modern.refused(500, "DELETE", "/volumes/data", force=force)
            assert said.startswith("remove data: volume has active mounts")
    finally:
        unmount(mountpoint / "share")
    assert (daemon.volume_data("shared") / "remote").read_text() == "not ours to clean"
    assert (mountpoint / "note").read_text() == "kept"


def test_a_put_without_a_swarm(modern: Api) -> None:
    """Docker has it for cluster volumes only."""
    modern.volume("data")
    said = modern.refused(503, "PUT", "/volumes/data", {"Spec": {"Availability": "drain"}}, version="1")
    assert said == "volume update only valid for cluster volumes, but swarm is unavailable"


def test_a_bind_of_only_a_destination_is_an_anonymous_volume(modern: Api) -> None:
    """Its name is known, unlike Docker's; and mounts are told in the order of their places, whatever that of asking."""
    host = {"Binds": ["/z", "named:/m", "/a"], "NetworkMode": "none"}
    made = modern.ok("POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"], "HostConfig": host})
    mounts = modern.ok("GET", f"/containers/{made['Id']}/json")["Mounts"]
    assert [mount["Destination"] for mount in mounts] == ["/a", "/m", "/z"]
    assert [len(mount["Name"]) for mount in mounts] == [64, len("named"), 64]
    modern.ok("DELETE", f"/containers/{made['Id']}", v="1")
    assert modern.names() == ["named"]
