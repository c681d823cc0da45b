"""What is told of volumes beyond Docker's API."""

from typing import Any

import pytest

from orlop.model.volume import VolumeFacts, VolumeUser
from support.edge import NOW_NS, Fakes, Served
from unit.docker.test_documents import check

USER = VolumeUser("c" * 64, "app", "/data", True, True)


@pytest.fixture
def document(served: Served) -> Any:
    return served.call("GET", "/orlop/v1/openapi.json").json


def make(served: Served, name: str = "data", **fields: Any) -> None:
    assert served.call("POST", "/volumes/create", {"Name": name, **fields}).status == 201


def test_an_inspect_tells_health_users_usage_and_protection(served: Served, fakes: Fakes) -> None:
    make(served, Labels={"orlop.protect": "true"})
    fakes.volume_reports.facts = VolumeFacts(10, 4096, 1, NOW_NS, NOW_NS, NOW_NS, NOW_NS, "app", "c" * 64)
    fakes.volume_reports.users = (USER,)
    status = served.call("GET", "/volumes/data").json["Status"]
    assert status["Health"] == "ok"
    assert status["Users"] == [
        {"Container": "app", "ID": "c" * 64, "Destination": "/data", "RW": True, "Running": True}
    ]
    assert (status["Usage"]["SizeBytes"], status["LastContainer"], status["Protected"]) == (10, "app", True)
    assert "Status" not in served.call("GET", "/volumes").json["Volumes"][0]


def test_an_inspect_has_an_old_figure_counted_anew(served: Served, fakes: Fakes) -> None:
    make(served)
    served.call("GET", "/volumes/data")
    assert fakes.volume_reports.wanted == ["data"]


def test_an_inspect_looks_at_the_disk_unless_somebody_just_did(served: Served, fakes: Fakes) -> None:
    make(served)
    for _ in range(2):
        assert served.call("GET", "/volumes/data").status == 200
    assert fakes.volume_reports.looked_at == ["data"]
    assert served.call("GET", "/volumes/ghost").status == 404


def test_a_listing_waits_as_long_as_it_is_told_to(served: Served, fakes: Fakes) -> None:
    make(served)
    answer = served.call("GET", '/orlop/v1/volumes?size=1&wait=3&filters={"dangling":["true"]}')
    assert fakes.volume_reports.asked == [({"dangling": ("true",)}, 3)]
    assert answer.json["Volumes"][0]["Usage"]["SizeBytes"] == -1
    assert served.call("GET", "/orlop/v1/volumes?wait=31").status == 400
    assert served.call("GET", "/orlop/v1/volumes?wait=soon").status == 400


def test_a_preview_is_of_names_or_of_a_prune(served: Served, fakes: Fakes, document: Any) -> None:
    make(served)
    path = "/orlop/v1/volumes/preview"
    found = served.call("POST", path, {"Names": ["data", "ghost"]}).json
    schema = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    check(document, schema, found)
    assert {each["Name"]: each["Goes"] for each in found["Volumes"]} == {"data": True, "ghost": False}
    assert served.call("POST", path, {"Prune": {"label": ["a"]}, "All": True}).status == 200
    assert fakes.volume_previews.asked == [({"label": ("a",)}, True, 0)]
    assert served.call("POST", path, {}).status == 400


def test_what_is_in_a_volume_is_told_with_names_of_any_bytes(served: Served) -> None:
    make(served)
    found = served.call("GET", "/orlop/v1/volumes/data/usage?depth=2").json
    assert (found["SizeBytes"], found["LeftOut"], found["Below"][0]["Path"]) == (30, 3, "a\ufffd")
    assert served.call("GET", "/orlop/v1/volumes/data/usage?depth=65").status == 400
    assert served.call("GET", "/orlop/v1/volumes/data/usage?path=nowhere").status == 404
    assert served.call("GET", "/orlop/v1/volumes/ghost/usage").status == 404


def test_volumes_are_measured_by_name_in_the_metrics_the_biggest_where_there_are_many(
    served: Served, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orlop.docker.routes.metrics.MOST_VOLUMES", 2)
    for name in ('odd"\\name', "b", "c"):
        make(served, name)
    fakes.volume_reports.facts = VolumeFacts(10, 4096, 1, NOW_NS, NOW_NS)
    fakes.volume_reports.users = (USER, USER)
    lines = served.call("GET", "/orlop/metrics").body.decode().splitlines()
    assert 'orlop_volume_size_bytes{volume="odd\\"\\\\name"} 10' in lines
    assert 'orlop_volume_users{volume="b"} 1' in lines
    assert "orlop_volumes_left_out 1" in lines
    assert not any('volume="c"' in line for line in lines)


def test_progress_ends_with_the_usage_or_the_reason(served: Served) -> None:
    make(served)
    assert served.call("GET", "/orlop/v1/volumes/data/usage?progress=1").json["Usage"]["SizeBytes"] == 30
    failed = served.call("GET", "/orlop/v1/volumes/data/usage?progress=1&path=nowhere")
    assert "no such file" in failed.json["Error"]
