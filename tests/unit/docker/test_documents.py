"""What is written about the edge says what the edge does."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from orlop.docker import fields
from orlop.docker.routes.all import TABLES
from orlop.docker.wire import container as wire
from support.edge import Fakes, Served

CHECKOUT = Path(__file__).parents[3]


def test_the_compatibility_page_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, CHECKOUT / "script/compatibility"], capture_output=True, check=True)
    page = (CHECKOUT / "docs/compatibility.md").read_bytes()
    assert page == done.stdout, "script/compatibility > docs/compatibility.md"


@pytest.mark.parametrize(("struct", "table"), [(wire.Config, fields.CONFIG), (wire.HostConfig, fields.HOST_CONFIG)])
def test_every_field_of_a_create_request_has_its_fate(
    struct: type[msgspec.Struct], table: dict[str, fields.Field]
) -> None:
    assert set(struct.__struct_fields__) == set(table)


@pytest.fixture
def document(served: Served) -> Any:
    return served.call("GET", "/orlop/v1/openapi.json").json


def test_the_openapi_document_names_every_call_and_no_other(document: Any) -> None:
    described = {(method.upper(), path) for path, calls in document["paths"].items() for method in calls}
    ours = [route for table in TABLES for route in table.all if route.template.startswith("/orlop/")]
    assert described == {(route.method, route.template) for route in ours}


def check(document: Any, schema: Any, value: Any) -> None:
    """As much of JSON Schema as the document uses."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/components/schemas/")
        schema = document["components"]["schemas"][name]
    names = {dict: "object", list: "array", str: "string", int: "integer", bool: "boolean", type(None): "null"}
    allowed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    assert names[type(value)] in allowed
    if "properties" in schema and isinstance(value, dict):
        assert set(schema["required"]) <= set(value) <= set(schema["properties"])
        for name, item in value.items():
            check(document, schema["properties"][name], item)
    if isinstance(value, list):
        for item in value:
            check(document, schema["items"], item)


def test_answers_have_the_shape_that_the_document_says(document: Any, served: Served, fakes: Fakes) -> None:
    for name in ("one", "two"):
        served.call("POST", "/volumes/create", {"Name": name, "Labels": {"a": "b"}})
        served.call("DELETE", f"/volumes/{name}")
    calls = [
        ("GET", "/orlop/v1/volumes/retired", "/orlop/v1/volumes/retired"),
        ("POST", "/orlop/v1/volumes/retired/one/restore", "/orlop/v1/volumes/retired/{reference}/restore"),
        ("DELETE", "/orlop/v1/volumes/retired/two", "/orlop/v1/volumes/retired/{reference}"),
        ("GET", "/orlop/v1/daemon", "/orlop/v1/daemon"),
        ("GET", "/orlop/v1/volumes?size=1", "/orlop/v1/volumes"),
        ("GET", "/orlop/v1/nodes", "/orlop/v1/nodes"),
        ("GET", "/orlop/v1/volumes/one/where", "/orlop/v1/volumes/{name}/where"),
        ("GET", "/orlop/v1/volumes/one/usage", "/orlop/v1/volumes/{name}/usage"),
    ]
    for method, path, template in calls:
        answer = served.call(method, path)
        assert answer.status == 200, path
        described = document["paths"][template][method.lower()]["responses"]["200"]
        check(document, described["content"]["application/json"]["schema"], answer.json)


def test_a_restored_volume_may_get_another_name(served: Served) -> None:
    served.call("POST", "/volumes/create", {"Name": "old"})
    served.call("DELETE", "/volumes/old")
    assert served.call("POST", "/orlop/v1/volumes/retired/old/restore", {"name": "new"}).json["Name"] == "new"
    assert served.call("GET", "/volumes/new").status == 200


def test_metrics_are_in_prometheus_format(served: Served) -> None:
    lines = served.call("GET", "/orlop/metrics").body.decode().splitlines()
    assert 'orlop_containers{state="running"} 1' in lines
    assert 'orlop_volumes_unwell{state="stale"} 2' in lines
    named = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert all(line.split("{")[0].split()[0] in named for line in lines if not line.startswith("#"))
