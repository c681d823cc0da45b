"""What changes from one version of the API to the next."""

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest

from orlop.docker.translate import disk_usage_out as df
from orlop.docker.translate.event_out import show_event
from orlop.docker.translate.image_out import show_image_config
from orlop.docker.wire.volume import UsageData
from orlop.model.event import Event
from orlop.model.image import ImageConfig
from support.edge import IMAGE_ID, Fakes, Served

ARM = quote(json.dumps({"os": "linux", "architecture": "arm64"}))
AMD = quote(json.dumps({"os": "linux", "architecture": "amd64", "variant": ""}))


def made(served: Served, body: Mapping[str, Any], version: str) -> Any:
    answer = served.call("POST", f"/v{version}/containers/create", {"Image": "busybox", **body})
    assert answer.status == 201, answer.body
    return answer.json


def test_an_event_has_its_oldest_spelling_up_to_1_51() -> None:
    event = Event("container", "start", "c" * 64, 1_700_000_000_000_000_000, {"image": "busybox"})
    assert show_event(event, (1, 51)).keys() - show_event(event, (1, 52)).keys() == {"status", "id", "from"}


@pytest.mark.parametrize(
    ("accept", "kind", "begins"),
    [
        ("", "application/json", b"{"),
        ("application/json-seq", "application/json-seq", b"\x1e{"),
        ("text/x, application/x-ndjson;q=0.9", "application/x-ndjson", b"{"),
        ("application/jsonl", "application/jsonl", b"{"),
    ],
)
def test_events_come_in_the_form_asked_for(served: Served, fakes: Fakes, accept: str, kind: str, begins: bytes) -> None:
    fakes.events.publish("volume", "create", "data", {})
    answer = served.call("GET", f"/events?since=1&until={time.time() + 0.1:.3f}", Accept=accept)
    assert answer.headers["content-type"] == kind
    assert answer.body.startswith(begins)
    assert b'"data"' in answer.body


def test_an_image_says_less_of_what_it_does_not_have() -> None:
    config = ImageConfig(command=("sh",))
    assert {"Hostname", "Env", "Cmd"} <= show_image_config(config, (1, 49)).keys()
    assert show_image_config(config, (1, 50)).keys() >= {"Env", "Cmd"}
    assert "Hostname" not in show_image_config(config, (1, 50))
    assert show_image_config(config, (1, 52)) == {"Cmd": ["sh"]}


def test_an_image_in_a_listing_counts_its_containers_since_1_51(served: Served) -> None:
    assert served.call("GET", "/v1.50/images/json").json[0]["Containers"] == -1
    assert served.call("GET", "/v1.51/images/json").json[0]["Containers"] == 0


@pytest.mark.parametrize("call", ["GET /images/busybox/json", "GET /images/busybox/history", "GET /images/busybox/get"])
def test_an_image_is_of_one_platform(served: Served, call: str) -> None:
    method, path = call.split()
    missing = served.call(method, f"{path}?platform={ARM}")
    assert missing.status == 404
    assert "does not match the specified platform" in missing.message
    assert served.call(method, f"{path}?platform=amd64").status == 400
    assert served.call(method, f"/v1.51{path}?platform={ARM}&platform={AMD}").status in (400, 404)


def test_an_image_s_inspect_asks_for_a_platform_or_for_manifests(served: Served) -> None:
    assert served.call("GET", f"/images/busybox/json?platform={AMD}").json["Id"] == IMAGE_ID
    assert served.call("GET", f"/images/busybox/json?platform={AMD}&manifests=1").status == 400
    assert served.call("GET", f"/v1.48/images/busybox/json?platform={ARM}").status == 200


def test_info_leaves_out_what_docker_left_out(served: Served) -> None:
    old, new = (served.call("GET", f"/v{version}/info").json for version in ("1.48", "1.50"))
    assert old["RuncCommit"] == {"ID": "", "Expected": ""}
    assert new["RuncCommit"] == {"ID": ""}
    assert old.keys() - new.keys() == {"BridgeNfIptables", "BridgeNfIp6tables"}
    assert new.keys() - old.keys() == {"FirewallBackend"}


def test_a_network_tells_its_addresses_since_1_52(served: Served) -> None:
    assert "Status" not in served.call("GET", "/v1.51/networks/bridge").json
    subnets = served.call("GET", "/networks/bridge").json["Status"]["IPAM"]["Subnets"]
    assert subnets == {"172.17.0.0/16": {"IPsInUse": 3, "DynamicIPsAvailable": 65533}}


def test_a_container_s_address_is_said_once_since_1_52(served: Served) -> None:
    identifier = made(served, {}, "1.52")["Id"]
    old, new = (served.call("GET", f"/v{version}/containers/{identifier}/json").json for version in ("1.51", "1.52"))
    assert new["NetworkSettings"].keys() == {"Networks", "Ports", "SandboxID", "SandboxKey"}
    assert old["NetworkSettings"].keys() > {"IPAddress", "Gateway", "Bridge", *new["NetworkSettings"]}
    assert "OnBuild" in old["Config"]
    assert "OnBuild" not in new["Config"]


def test_a_container_wide_mac_address_ends_with_1_51(served: Served, fakes: Fakes) -> None:
    body = {"MacAddress": "02:42:ac:11:00:02"}
    made(served, body, "1.51")
    warnings = made(served, body, "1.52")["Warnings"]
    assert [wish.config.mac_address for wish in fakes.containers.wishes] == [body["MacAddress"], ""]
    assert any("MacAddress" in warning for warning in warnings)


def test_a_volume_driver_that_does_not_concern_the_mounts_is_warned_of(served: Served) -> None:
    body = {"HostConfig": {"VolumeDriver": "local", "Mounts": [{"Type": "volume", "Source": "data", "Target": "/d"}]}}
    assert not any("container-wide volume-driver" in warning for warning in made(served, body, "1.47")["Warnings"])
    assert any("container-wide volume-driver" in warning for warning in made(served, body, "1.48")["Warnings"])


# Disk usage


def shown() -> list[df.Shown]:
    images = [{"Containers": 1, "Size": 100, "SharedSize": 40}, {"Containers": 0, "Size": 70, "SharedSize": 40}]
    usage = [UsageData(RefCount=2, Size=10), UsageData(RefCount=0, Size=5), UsageData(RefCount=0, Size=-1)]
    return [
        df.images(images, 130),
        df.containers(["a", "b"], [(7, True), (3, False)]),
        df.volumes(["x", "y", "z"], usage),
        df.no_build_cache(),
    ]


def test_totals_leave_out_what_is_nothing_and_do_not_count_the_unknown() -> None:
    totals = df.show_disk_usage(shown(), df.Form.TOTALS, (1, 52))
    assert totals == {
        "ImageUsage": {"ActiveCount": 1, "TotalCount": 2, "TotalSize": 130, "Reclaimable": 70},
        "ContainerUsage": {"ActiveCount": 1, "TotalCount": 2, "TotalSize": 10, "Reclaimable": 3},
        "VolumeUsage": {"ActiveCount": 1, "TotalCount": 3, "TotalSize": 15, "Reclaimable": 5},
        "BuildCacheUsage": {},
    }


def test_objects_come_with_the_totals_when_asked_for() -> None:
    verbose = df.show_disk_usage(shown(), df.Form.VERBOSE, (1, 52))
    assert verbose["ContainerUsage"]["Items"] == ["a", "b"]
    assert "Items" not in verbose["BuildCacheUsage"]
    assert not verbose.keys() & {"LayersSize", "Images", "Volumes"}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1.41/system/df?type=dust", {"LayersSize", "Images", "Containers", "Volumes", "BuildCache", "BuilderSize"}),
        ("/v1.51/system/df?verbose=1", {"LayersSize", "Images", "Containers", "Volumes", "BuildCache"}),
        ("/v1.51/system/df?type=volume&type=container", {"Volumes", "Containers"}),
        ("/v1.52/system/df?type=image", {"LayersSize", "Images", "ImageUsage"}),
        ("/v1.52/system/df?type=image&verbose=1", {"ImageUsage"}),
        ("/v1.52/system/df?verbose=false", {"ImageUsage", "ContainerUsage", "VolumeUsage", "BuildCacheUsage"}),
    ],
)
def test_disk_usage_has_the_shape_of_each_version(served: Served, path: str, fields: set[str]) -> None:
    assert served.call("GET", path).json.keys() == fields


def test_disk_usage_refuses_what_it_does_not_know(served: Served) -> None:
    assert served.call("GET", "/v1.42/system/df?type=dust").message == "unknown object type: dust"
    refused = served.call("GET", "/system/df?verbose=perhaps")
    assert (refused.status, refused.message) == (400, "invalid value for verbose: perhaps")
