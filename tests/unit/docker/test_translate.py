"""Create requests to wishes, and back to what inspect shows."""

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orlop.docker.translate.container_in import container_wish
from orlop.docker.translate.container_out import describe_age, describe_status, inspect_container
from orlop.docker.translate.event_out import matches_event
from orlop.docker.translate.update_in import apply_update
from orlop.docker.wire import container as wire
from orlop.docker.wire.decoding import decode_json
from orlop.errors import Conflict, Malformed, OrlopError, Unsupported
from orlop.model.container import Container, ContainerState, ContainerWish, RestartPolicy, Status, Ulimit
from orlop.model.event import Event
from orlop.model.mount import Mount, MountKind, MountOrigin, MountRequest
from orlop.store.paths import DataRoot

NEWEST = (1, 52)
SECOND = 1_000_000_000


def wish(request: dict[str, Any], api: tuple[int, int] = NEWEST) -> ContainerWish:
    return warned(request, api)[0]


def warned(request: dict[str, Any], api: tuple[int, int] = NEWEST) -> tuple[ContainerWish, list[str]]:
    body = decode_json(msgspec.json.encode({"Image": "busybox", **request}), wire.ContainerCreate)
    return container_wish(body, "app", api, "crun")


def host(**fields: Any) -> dict[str, Any]:
    return {"HostConfig": fields}


def container(request: dict[str, Any], **changes: Any) -> Container:
    made = wish(request)
    plain = Container(
        id="c" * 64,
        name=made.name,
        created_at_ns=1,
        image_id="sha256:" + "1" * 64,
        config=made.config,
        host=made.host,
        layer_id="1" * 64,
        path="sh",
        client_view=made.client_view,
    )
    return dataclasses.replace(plain, **changes)


def shown(made: Container) -> Any:
    encoded = msgspec.json.encode(inspect_container(made, DataRoot(Path("/data")), "overlay2", NEWEST))
    return msgspec.json.decode(encoded)


def test_names_of_fields_match_whatever_their_case() -> None:
    made = wish({"image": "other", "hostconfig": {"BINDS": ["data:/x"], "autoremove": True}, "cmd": ["a"]})
    assert made.config.image == "other"
    assert made.host.auto_remove
    assert made.host.mounts[0].source == "data"
    assert made.config.command == ("a",)


def test_null_means_not_given() -> None:
    made = wish({"Cmd": None, "Env": None, "HostConfig": {"Binds": None, "RestartPolicy": None, "LogConfig": None}})
    assert made == wish({"HostConfig": {}})


def test_null_inside_a_list_or_map_is_empty() -> None:
    assert wish({"Labels": {"a": None}, "Cmd": ["x", None]}).config.labels == {"a": ""}
    assert wish({"Cmd": ["x", None]}).config.command == ("x", "")


@pytest.mark.parametrize(
    ("given", "got"), [("sh", ("sh",)), (["a", "b"], ("a", "b")), ("", ()), ([], ()), (None, None)]
)
def test_a_command_may_be_one_string(given: object, got: object) -> None:
    assert wish({"Cmd": given}).config.command == got
    assert wish({"Entrypoint": given}).config.entrypoint == got


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"{", "invalid JSON: "),
        (b'{"Image": 5}', "invalid JSON: "),
        (b'{"HostConfig": {"Memory": "1g"}}', "invalid JSON: "),
        (b"{} {}", "unexpected content after JSON"),
        (b"[]", "invalid JSON: "),
        (b'{"Image": "\xff"}', "invalid JSON: "),
        (b"[" * 100_000, "invalid JSON: "),
    ],
)
def test_json_that_is_none_is_refused(raw: bytes, text: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode_json(raw, wire.ContainerCreate)
    assert caught.value.message.startswith(text)


def test_an_empty_request_is_refused_in_dockers_words() -> None:
    with pytest.raises(Malformed, match="config cannot be empty in order to create a container"):
        container_wish(wire.ContainerCreate(), "", NEWEST)


def test_binds_and_mounts_become_requests_in_the_order_given() -> None:
    mounts = wish(
        host(
            Binds=["data:/a:ro", "/host:/b:rshared"],
            Mounts=[
                {"Type": "volume", "Source": "v", "Target": "/c/", "VolumeOptions": {"Subpath": "s", "NoCopy": True}},
                {"Type": "bind", "Source": "/h", "Target": "/d", "BindOptions": {"NonRecursive": True}},
                {
                    "Type": "tmpfs",
                    "Target": "/e",
                    "TmpfsOptions": {"SizeBytes": 9, "Mode": 1023, "Options": [["exec"]]},
                },
            ],
        )
    ).host.mounts
    binds, plain = MountOrigin.BINDS, MountOrigin.MOUNTS
    volume, bind = MountKind.VOLUME, MountKind.BIND
    assert mounts == (
        MountRequest(volume, "/a", "data", read_only=True, origin=binds, mode="ro"),
        MountRequest(bind, "/b", "/host", origin=binds, mode="rshared", propagation="rshared", create_source=True),
        MountRequest(volume, "/c/", "v", origin=plain, no_copy=True, subpath="s"),
        MountRequest(bind, "/d", "/h", origin=plain, non_recursive=True),
        MountRequest(MountKind.TMPFS, "/e", origin=plain, tmpfs_size_bytes=9, tmpfs_mode=1023, tmpfs_options=("exec",)),
    )


@pytest.mark.parametrize(
    ("mount", "api", "text"),
    [
        (
            {"Type": "bind", "Source": "/a", "Target": "/b", "VolumeOptions": {}},
            (1, 42),
            'VolumeOptions must not be specified on mount type "bind"',
        ),
        (
            {"Type": "bind", "Source": "/a", "Target": "/b", "TmpfsOptions": {}},
            (1, 41),
            'invalid mount config for type "bind": field TmpfsOptions must not be specified',
        ),
        (
            {"Type": "volume", "Source": "v", "Target": "/b", "VolumeOptions": {"Subpath": "x"}},
            (1, 44),
            "VolumeOptions.Subpath needs API v1.45 or newer",
        ),
        ({"Type": "image", "Source": "i", "Target": "/b"}, (1, 47), 'Mount type "Image" needs API v1.48 or newer'),
        ({"Type": "npipe", "Target": "/b"}, NEWEST, 'invalid mount config for type "npipe": mount type unknown'),
        ({"Type": "volume"}, NEWEST, 'invalid mount config for type "volume": field Target must not be empty'),
        (
            {"Type": "tmpfs", "Target": "/b", "TmpfsOptions": {"Options": [[]]}},
            NEWEST,
            'invalid mount config for type "tmpfs": invalid option array length',
        ),
        (
            {"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"ReadOnlyForceRecursive": True}},
            (1, 43),
            "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer",
        ),
    ],
)
def test_mounts_are_refused_in_dockers_words(mount: dict[str, Any], api: tuple[int, int], text: str) -> None:
    with pytest.raises(Malformed) as caught:
        wish(host(Mounts=[mount]), api)
    assert caught.value.why == text


def test_fields_younger_than_the_api_asked_for_do_not_count() -> None:
    mount = {"Type": "bind", "Source": "/a", "Target": "/b", "BindOptions": {"CreateMountpoint": True}}
    assert wish(host(Mounts=[mount]), (1, 42)).host.mounts[0].create_source
    assert not wish(host(Mounts=[mount]), (1, 41)).host.mounts[0].create_source


@pytest.mark.parametrize(
    "fields",
    [
        {"PortBindings": {"80/tcp": [{"HostPort": "80"}]}},
        {"PublishAllPorts": True},
        {"Links": ["a:b"]},
        {"StorageOpt": {"size": "1g"}},
        {"UsernsMode": "keep-id"},
        {"DeviceRequests": [{"Count": -1}]},
        {"DeviceCgroupRules": ["c 1:* r"]},
        {"Isolation": "hyperv"},
        {"Cgroup": "container:x"},
        {"LogConfig": {"Type": "syslog"}},
        {"IpcMode": "none"},
        {"SecurityOpt": ["apparmor=mine"]},
    ],
)
def test_what_cannot_be_kept_is_refused_and_named(fields: dict[str, Any]) -> None:
    with pytest.raises(Unsupported) as caught:
        wish(host(**fields))
    assert caught.value.message


@pytest.mark.parametrize(
    "fields",
    [
        {"PortBindings": {}, "Links": [], "StorageOpt": {}, "UsernsMode": "", "Isolation": "default"},
        {"SecurityOpt": ["no-new-privileges", "label=disable", "apparmor=unconfined", "seccomp=unconfined"]},
        {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}},
        {"CgroupnsMode": "host", "MemorySwappiness": -1},
    ],
)
def test_what_asks_for_nothing_is_accepted_in_silence(fields: dict[str, Any]) -> None:
    assert warned(host(**fields))[1] == []


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (host(BlkioWeight=500), "BlkioWeight"),
        (host(KernelMemory=1), "KernelMemory"),
        (host(MemorySwappiness=5), "MemorySwappiness"),
        (host(LogConfig={"Config": {"max-file": "3"}}), "max-file"),
        ({"Healthcheck": {"Test": ["CMD", "true"]}}, "Healthcheck"),
    ],
)
def test_what_is_not_done_and_harms_nobody_is_warned_of(request_: dict[str, Any], field: str) -> None:
    (warning,) = warned(request_)[1]
    assert field in warning


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"Memory": 1000}, "Minimum memory limit allowed is 6MB"),
        ({"Memory": 9 << 20, "MemorySwap": 8 << 20}, "Minimum memoryswap limit should be larger"),
        ({"MemorySwap": 8 << 20}, "You should always set the Memory limit"),
        ({"Memory": 9 << 20, "MemoryReservation": 10 << 20}, "less than memory reservation limit"),
        ({"NanoCpus": 1, "CpuQuota": 5000}, "Conflicting options: Nano CPUs"),
        ({"CpuPeriod": 10}, "CPU cfs period"),
        ({"CpuQuota": 10}, "CPU cfs quota"),
        ({"OomScoreAdj": 2000}, "range for oom score adj"),
        ({"ShmSize": -1}, "SHM size"),
        ({"RestartPolicy": {"Name": "sometimes"}}, "invalid restart policy 'sometimes'"),
        ({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}, "maximum retry count cannot be used"),
        ({"RestartPolicy": {"Name": "always"}, "AutoRemove": True}, "can't create 'AutoRemove' container"),
        ({"PidMode": "mine"}, "invalid PID mode: mine"),
        ({"UTSMode": "container:x"}, "invalid UTS mode"),
        ({"SecurityOpt": ["nonsense"]}, "invalid --security-opt"),
        ({"Devices": [{}]}, "path on the host"),
    ],
)
def test_contradictions_are_refused_at_create(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(Malformed) as caught:
        wish(host(**fields))
    assert text in caught.value.message


def test_an_environment_variable_needs_a_name() -> None:
    for wrong in ("=x", ""):
        with pytest.raises(Malformed):
            wish({"Env": [wrong]})


def test_a_second_network_or_a_fixed_address_is_refused() -> None:
    for endpoints in ({"other": {}}, {"bridge": {"IPAMConfig": {"IPv4Address": "172.17.0.9"}}}):
        with pytest.raises(OrlopError):
            wish({"NetworkingConfig": {"EndpointsConfig": endpoints}})
    wish({"NetworkingConfig": {"EndpointsConfig": {"default": {}, "bridge": {"IPAMConfig": {}}}}})


def test_limits_and_the_rest_arrive() -> None:
    made = wish(
        host(
            Memory=64 << 20,
            NanoCpus=500_000_000,
            PidsLimit=10,
            Ulimits=[{"Name": "nofile", "Soft": 1, "Hard": 2}],
            CapAdd=["NET_ADMIN"],
            RestartPolicy={"Name": "on-failure", "MaximumRetryCount": 3},
            Init=True,
        )
    ).host
    assert (made.resources.memory_bytes, made.resources.nano_cpus, made.resources.pids_limit) == (
        64 << 20,
        5 * 10**8,
        10,
    )
    assert made.ulimits == (Ulimit("nofile", 1, 2),)
    assert made.cap_add == ("NET_ADMIN",)
    assert made.restart_policy == RestartPolicy("on-failure", 3)
    assert made.init


def test_inspect_gives_back_what_was_asked_for_with_defaults_filled_in() -> None:
    given = {"Binds": ["data:/a:ro"], "Memory": 64 << 20, "Mounts": [{"Type": "tmpfs", "Target": "/t"}]}
    seen = shown(container({"HostConfig": given, "Healthcheck": {"Test": ["NONE"]}}))
    echoed = seen["HostConfig"]
    assert {key: echoed[key] for key in given} == given
    assert echoed["LogConfig"] == {"Type": "json-file", "Config": {}}
    assert (echoed["NetworkMode"], echoed["ShmSize"], echoed["Runtime"]) == ("default", 64 << 20, "crun")
    assert echoed["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert "/proc/kcore" in echoed["MaskedPaths"]
    assert seen["Config"]["Healthcheck"] == {"Test": ["NONE"]}
    assert seen["State"]["StartedAt"] == "0001-01-01T00:00:00Z"


def test_inspect_shows_mounts_by_destination_and_no_tmpfs_of_the_host_config() -> None:
    mounts = (
        Mount(MountKind.VOLUME, "/z", "/data/volumes/v/_data", volume="v", driver="local", origin=MountOrigin.BINDS),
        Mount(MountKind.BIND, "/b", "/host", origin=MountOrigin.BINDS, mode="ro", read_only=True),
        Mount(MountKind.TMPFS, "/t", "", origin=MountOrigin.TMPFS),
        Mount(MountKind.TMPFS, "/m", "", origin=MountOrigin.MOUNTS),
    )
    seen = shown(container({}, mounts=mounts))["Mounts"]
    assert [each["Destination"] for each in seen] == ["/b", "/m", "/z"]
    assert seen[0] == {
        "Type": "bind",
        "Source": "/host",
        "Destination": "/b",
        "Mode": "ro",
        "RW": False,
        "Propagation": "rprivate",
    }
    assert (seen[2]["Name"], seen[2]["Driver"], seen[2]["Mode"]) == ("v", "local", "z")


def test_update_changes_the_policy_of_any_container_and_limits_of_a_stopped_one() -> None:
    stopped = container({"HostConfig": {"Memory": 64 << 20}})
    policy = wire.HostConfig(RestartPolicy=wire.RestartPolicy("always"))
    running = dataclasses.replace(stopped, status=Status(ContainerState.RUNNING, 1))
    changed = apply_update(running, policy)
    assert changed.host.restart_policy == RestartPolicy("always")
    assert shown(changed)["HostConfig"]["RestartPolicy"]["Name"] == "always"
    more = wire.HostConfig(Memory=128 << 20)
    assert apply_update(stopped, more).host.resources.memory_bytes == 128 << 20
    assert shown(apply_update(stopped, more))["HostConfig"]["Memory"] == 128 << 20
    with pytest.raises(Conflict):
        apply_update(running, more)
    with pytest.raises(Malformed):
        apply_update(stopped, wire.HostConfig(Memory=5))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (120, "2 minutes"),
        (3600, "About an hour"),
        (5400, "1 hour"),
        (7200, "2 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_ages_are_told_as_docker_tells_them(seconds: int, text: str) -> None:
    assert describe_age(seconds) == text


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (ContainerState.CREATED, "Created"),
        (ContainerState.RUNNING, "Up 5 seconds"),
        (ContainerState.PAUSED, "Up 5 seconds (Paused)"),
        (ContainerState.EXITED, "Exited (3) 2 seconds ago"),
        (ContainerState.RESTARTING, "Restarting (3) 2 seconds ago"),
        (ContainerState.DEAD, "Dead"),
        (ContainerState.REMOVING, "Removal In Progress"),
    ],
)
def test_states_are_told_as_docker_tells_them(state: ContainerState, text: str) -> None:
    status = Status(state, exit_code=3, started_at_ns=5 * SECOND, finished_at_ns=8 * SECOND)
    assert describe_status(status, 10 * SECOND) == text


DIED = Event("container", "die", "c" * 64, 1, {"image": "busybox:1", "name": "app", "exitCode": "0", "tier": "db"})


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ({}, True),
        ({"type": ("container", "image")}, True),
        ({"type": ("volume",)}, False),
        ({"event": ("start", "die")}, True),
        ({"container": ("app",)}, True),
        ({"container": ("ccc",)}, True),
        ({"container": ("other",)}, False),
        ({"volume": ("app",)}, False),
        ({"image": ("busybox",)}, True),
        ({"image": ("debian",)}, False),
        ({"label": ("tier=db",)}, True),
        ({"label": ("tier=web",)}, False),
        ({"type": ("container",), "event": ("start",)}, False),
        ({"scope": ("swarm",)}, False),
    ],
)
def test_events_are_filtered(filters: dict[str, tuple[str, ...]], matches: bool) -> None:
    assert matches_event(DIED, filters) is matches


def test_a_password_among_driver_options_reaches_the_driver_and_no_reader() -> None:
    options = {"type": "cifs", "device": "//h/s", "o": "username=u,password=hush"}
    mount = {"Type": "volume", "Target": "/x", "VolumeOptions": {"DriverConfig": {"Name": "local", "Options": options}}}
    request = host(Mounts=[mount])
    assert wish(request).host.mounts[0].driver_options == options
    made = container(request)
    assert "hush" not in made.client_view
    (echoed,) = shown(made)["HostConfig"]["Mounts"]
    assert echoed["VolumeOptions"]["DriverConfig"]["Options"]["o"] == "username=u,password=********"
