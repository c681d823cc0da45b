"""Filters of the volume listing and of prune, to the letter, and what prune takes by the version asked for."""

import json
from urllib.parse import quote

import pytest

from support.asking import BY_PEER, Api, ask


@pytest.fixture
def fleet(api: Api) -> Api:
    """Volumes of all kinds; `held` and `running` have containers."""
    api.volume("plain")
    api.volume("red", Labels={"colour": "red"})
    api.volume("blue", Labels={"colour": "blue", "tier": "db"})
    api.volume("bare", Labels={"colour": ""})
    api.volume("memory", DriverOpts={"type": "tmpfs", "device": "tmpfs"})
    api.daemon.docker("create", "-v", "held:/x", "busybox", "true")
    return api


EVERYTHING = ["bare", "blue", "held", "memory", "plain", "red"]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, EVERYTHING),
        ({"dangling": ["true"]}, ["bare", "blue", "memory", "plain", "red"]),
        ({"dangling": ["1"]}, ["bare", "blue", "memory", "plain", "red"]),
        ({"dangling": ["false"]}, ["held"]),
        ({"dangling": ["0"]}, ["held"]),
        ({"dangling": {"false": True}}, ["held"]),
        ({"driver": ["local"]}, EVERYTHING),
        ({"driver": ["local", "ghost"]}, EVERYTHING),
        ({"driver": ["ghost"]}, []),
        ({"driver": [""]}, []),
        ({"driver": ["loc"]}, []),
        ({"label": ["colour"]}, ["bare", "blue", "red"]),
        ({"label": ["colour=red"]}, ["red"]),
        ({"label": ["colour="]}, ["bare"]),
        ({"label": ["colour", "tier"]}, ["blue"]),
        ({"label": ["colour=red", "colour=blue"]}, []),
        ({"label": {"tier=db": True}}, ["blue"]),
        ({"label": ["ghost"]}, []),
        ({"name": ["plain"]}, ["plain"]),
        ({"name": ["plain", "red"]}, ["plain", "red"]),
        ({"name": ["l"]}, ["blue", "held", "plain"]),
        ({"name": ["^b"]}, ["bare", "blue"]),
        ({"name": ["r.d"]}, ["red"]),
        ({"name": ["(unclosed"]}, []),
        ({"name": ["e"], "dangling": ["true"], "label": ["colour"]}, ["bare", "blue", "red"]),
    ],
    ids=json.dumps,
)
def test_the_listing_shows(fleet: Api, filters: dict[str, object], names: list[str]) -> None:
    assert fleet.names(**filters) == names


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ({"dangling": ["yes"]}, "invalid filter 'dangling=[yes]'"),
        ({"dangling": ["TRUE"]}, "invalid filter 'dangling=[TRUE]'"),
        ({"colour": ["red"]}, "invalid filter 'colour'"),
        ({"label!": ["red"]}, "invalid filter 'label!'"),
        ({"all": ["true"]}, "invalid filter 'all'"),
    ],
)
def test_the_listing_refuses(modern: Api, filters: dict[str, list[str]], says: str) -> None:
    assert modern.refused(400, "GET", "/volumes", filters=filters).startswith(says)


def test_both_truths_at_once_are_refused(modern: Api) -> None:
    said = modern.refused(400, "GET", "/volumes", filters={"dangling": ["true", "false"]})
    assert said.startswith(("invalid filter 'dangling=[true false]'", "invalid filter 'dangling=[false true]'"))


@pytest.mark.parametrize("text", ["nonsense", "[]", '{"name":"x"}', '{"name":[1]}', '{"name":null', '"x"'])
def test_filters_that_are_none_are_refused(modern: Api, text: str) -> None:
    status, _, answer = ask(modern.daemon, f"GET /v1.47/volumes?filters={quote(text)}")
    assert (status, json.loads(answer)["message"]) == (400, "error reading volume filters: invalid filter")
    status, _, answer = ask(modern.daemon, f"POST /v1.47/volumes/prune?filters={quote(text)}")
    assert (status, json.loads(answer)["message"]) == (400, "invalid filter")


# Prune


def anonymous(api: Api, **labels: str) -> str:
    return str(api.volume("", Labels=labels)["Name"])


def test_an_old_client_prunes_named_volumes_too(fleet: Api) -> None:
    nameless = anonymous(fleet)
    assert fleet.prune() == sorted(["bare", "blue", "plain", "red", nameless])
    assert fleet.names() == ["held", "memory"], "what is held and what has options stays"


def test_a_new_client_prunes_anonymous_volumes_only(modern: Api, fleet: Api) -> None:
    nameless = anonymous(modern)
    assert modern.prune() == [nameless]
    assert modern.names() == EVERYTHING
    assert modern.prune(all=["true"]) == ["bare", "blue", "plain", "red"]
    assert modern.names() == ["held", "memory"]


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_all_in_every_spelling_of_true(modern: Api, text: str) -> None:
    modern.volume("plain")
    assert modern.prune(all=[text]) == ["plain"]


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_all_in_every_spelling_of_false(modern: Api, text: str) -> None:
    modern.volume("plain")
    assert modern.prune(all=[text]) == []


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        ({"all": ["yes"]}, "invalid filter 'all"),
        ({"all": ["1", "0"]}, "invalid filter 'all=[1 0]': only one value is expected"),
        ({"all": [""]}, "invalid filter 'all"),
        ({"dangling": ["true"]}, "invalid filter 'dangling'"),
        ({"name": ["x"]}, "invalid filter 'name'"),
        ({"driver": ["local"]}, "invalid filter 'driver'"),
        ({"until": ["1h"]}, "invalid filter 'until'"),
    ],
)
def test_prune_refuses(modern: Api, filters: dict[str, list[str]], says: str) -> None:
    modern.volume("plain")
    assert modern.refused(400, "POST", "/volumes/prune", filters=filters).startswith(says)
    assert modern.names() == ["plain"]


@pytest.mark.parametrize(
    ("filters", "gone"),
    [
        ({"label": ["colour"]}, ["bare", "blue", "red"]),
        ({"label": ["colour=red"]}, ["red"]),
        ({"label": ["colour", "tier=db"]}, ["blue"]),
        ({"label!": ["colour"]}, ["plain"]),
        ({"label!": ["colour=red"]}, ["bare", "blue", "plain"]),
        ({"label!": ["colour=blue", "tier=db"]}, ["bare", "plain", "red"]),
        ({"label": ["colour"], "label!": ["tier"]}, ["bare", "red"]),
    ],
    ids=json.dumps,
)
def test_prune_by_labels(fleet: Api, filters: dict[str, list[str]], gone: list[str]) -> None:
    assert fleet.prune(**filters) == gone
    assert fleet.names() == sorted(set(EVERYTHING) - set(gone))


def test_terms_of_label_and_the_anonymous_mark_are_both_wanted(modern: Api) -> None:
    marked, _ = anonymous(modern, tier="db"), anonymous(modern)
    modern.volume("named", Labels={"tier": "db"})
    assert modern.prune(label=["tier"]) == [marked]


def test_prune_says_how_much_came_free(api: Api) -> None:
    script = "head -c 100000 /dev/zero > /d/f; ln /d/f /d/g; ln -s f /d/h"
    api.daemon.docker("run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", script)
    with api.listening(type=["volume"]) as events:
        answer = api.ok("POST", "/volumes/prune")
        said = events.until("prune")
    assert answer == {"VolumesDeleted": ["data"], "SpaceReclaimed": 100001}
    assert [event["Action"] for event in said] == ["prune"] if BY_PEER else ["destroy", "prune"]
    assert said[-1]["Actor"] == {"ID": "", "Attributes": {"reclaimed": "100001"}}
