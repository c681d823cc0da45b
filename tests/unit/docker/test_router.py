"""Paths, versions and the texts that clients match on."""

import pytest

from orlop.docker.router import Router
from orlop.docker.routes.all import TABLES
from orlop.docker.versions import NEWEST, split_version
from orlop.errors import Malformed
from support.edge import Fakes, Served


@pytest.mark.parametrize(
    ("path", "version", "rest"),
    [
        ("/v1.24/info", (1, 24), "/info"),
        ("/v1.52/info", (1, 52), "/info"),
        ("/info", NEWEST, "/info"),
        ("/volumes/v1.2", NEWEST, "/volumes/v1.2"),
        ("/version", NEWEST, "/version"),
        ("/vx/info", NEWEST, "/vx/info"),
        ("/v1.41", (1, 41), ""),
    ],
)
def test_the_version_is_split_off(path: str, version: tuple[int, int], rest: str) -> None:
    assert split_version(path) == (version, rest)


def test_versions_that_are_not_spoken_are_refused_in_dockers_words(served: Served) -> None:
    too_old = served.call("GET", "/v1.23/info")
    assert too_old.status == 400
    assert too_old.message == (
        "client version 1.23 is too old. Minimum supported API version is 1.24, "
        "please upgrade your client to a newer version"
    )
    too_new = served.call("GET", "/v1.99/info")
    assert too_new.status == 400
    assert too_new.message == "client version 1.99 is too new. Maximum supported API version is 1.52"


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nothing"), ("PATCH", "/volumes"), ("GET", "/"), ("GET", "*"), ("POST", "/_ping/x")]
)
def test_unknown_routes_are_not_found(served: Served, method: str, path: str) -> None:
    answer = served.call(method, path)
    assert (answer.status, answer.message) == (404, "page not found")


def test_a_younger_route_names_the_version_it_needs(served: Served) -> None:
    answer = served.call("POST", "/v1.24/volumes/prune")
    assert (answer.status, answer.message) == (400, "POST /volumes/prune requires minimum API version 1.25")


def test_names_may_contain_slashes_and_escapes(served: Served, fakes: Fakes) -> None:
    assert served.call("GET", "/volumes/a/b").message == "get a/b: no such volume"
    assert served.call("GET", "/volumes/a%2Fb").message == "get a/b: no such volume"
    assert served.call("GET", "/volumes/").message == "get : no such volume"
    fakes.volumes.create("ä <&>", "", None, None)
    answer = served.call("GET", "/volumes/%C3%A4%20%3C%26%3E")
    assert "ä <&>".encode() in answer.body, "JSON is not escaped for HTML"
    assert answer.body.endswith(b"\n")


def test_no_two_routes_are_the_same() -> None:
    keys = [(route.method, route.template) for route in Router(TABLES).routes]
    assert len(keys) == len(set(keys))


def test_every_route_is_found_by_its_own_template() -> None:
    router = Router(TABLES)
    for route in router.routes:
        path = route.template.replace("{", "x").replace("}", "x")
        handler, _ = router.find(route.method, path, NEWEST)
        assert handler is route.handler, route.template


def test_a_version_before_a_route_is_refused_also_when_the_route_was_found_before() -> None:
    router = Router(TABLES)
    router.find("POST", "/volumes/prune", NEWEST)
    with pytest.raises(Malformed):
        router.find("POST", "/volumes/prune", (1, 24))


def test_a_web_page_cannot_prune_volumes(served: Served, fakes: Fakes) -> None:
    answer = served.call("POST", "/volumes/prune", Origin="http://evil.example")
    assert answer.status == 403
    assert fakes.volumes.asked == []
