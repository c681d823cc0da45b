"""Answers that are kept: given again for the very same only."""

import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orlop.docker.kept import KeptReplies
from orlop.docker.messages import Response
from orlop.errors import HostFailure
from orlop.model.volume import Volume, VolumeUser
from support.daemon import wait_for
from support.edge import Fakes, Served


def test_an_answer_is_given_again_for_what_it_tells_and_for_nothing_else() -> None:
    kept: KeptReplies[int] = KeptReplies(2)
    reply = kept.keep("a", 1, Response(200, b"one"))
    assert kept.find("a", 1) is reply
    assert kept.find("a", 2) is None
    assert kept.find("b", 1) is None
    assert kept.find("a", None) is None


def test_no_more_answers_are_kept_than_said() -> None:
    kept: KeptReplies[int] = KeptReplies(2)
    for number, key in enumerate("abc"):
        kept.keep(key, number, Response(200))
    assert [key for number, key in enumerate("abc") if kept.find(key, number)] == ["c"]


def listed(served: Served, query: str = "") -> list[str]:
    return [volume["Name"] for volume in served.call("GET", f"/volumes{query}").json["Volumes"]]


def test_volumes_are_listed_anew_only_when_their_version_is_another(served: Served, fakes: Fakes) -> None:
    fakes.volumes.version = 1
    served.call("POST", "/volumes/create", {"Name": "first"})
    assert [listed(served), listed(served)] == [["first"], ["first"]]
    assert fakes.volumes.asked == [{}]
    fakes.volumes.version = 2
    served.call("POST", "/volumes/create", {"Name": "second"})
    assert listed(served) == ["first", "second"]


def test_a_listing_with_filters_is_neither_kept_nor_taken_from_what_is_kept(served: Served, fakes: Fakes) -> None:
    fakes.volumes.version = 1
    wanted = '?filters={"name":["x"]}'
    for query in ("", wanted, wanted, ""):
        listed(served, query)
    assert fakes.volumes.asked == [{}, {"name": ("x",)}, {"name": ("x",)}]


def test_what_changes_while_it_is_listed_is_in_the_next_listing(
    served: Served, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.volumes.version = 1
    served.call("POST", "/volumes/create", {"Name": "first"})
    known = fakes.volumes.list_known

    def interrupted(filters: Any) -> Any:
        found = known(filters)
        if fakes.volumes.version == 1:
            fakes.volumes.create("second", "", None, None)
            fakes.volumes.version = 2
        return found

    monkeypatch.setattr(fakes.volumes, "list_known", interrupted)
    assert [listed(served), listed(served)] == [["first"], ["first", "second"]]


def test_an_inspect_tells_each_change_of_what_is_known(served: Served, fakes: Fakes) -> None:
    served.call("POST", "/volumes/create", {"Name": "data"})
    answers = [served.call("GET", "/volumes/data").body]
    assert served.call("GET", "/volumes/data").body == answers[0]
    fakes.volume_reports.facts = dataclasses.replace(fakes.volume_reports.facts, size_bytes=5)
    answers.append(served.call("GET", "/volumes/data").body)
    fakes.volume_reports.users = (VolumeUser("c" * 64, "app", "/d", True, True),)
    answers.append(served.call("GET", "/volumes/data").body)
    fakes.volumes.volumes["data"] = dataclasses.replace(fakes.volumes.volumes["data"], problem="gone")
    answers.append(served.call("GET", "/volumes/data").body)
    assert len(set(answers)) == 4
    assert json.loads(answers[-1])["Status"]["Health"] == "gone"


def test_one_look_serves_all_who_ask_while_it_lasts(
    served: Served, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.call("POST", "/volumes/create", {"Name": "data"})
    looks: list[str] = []
    begun, seen = threading.Event(), threading.Event()
    look_at = fakes.volume_reports.look_at

    def slowly(volume: Volume) -> Volume:
        looks.append(volume.name)
        begun.set()
        assert seen.wait(20)
        return look_at(volume)

    monkeypatch.setattr(fakes.volume_reports, "look_at", slowly)
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(served.call, "GET", "/volumes/data") for _ in range(3)]
        assert begun.wait(20)
        wait_for(
            "all three to be asked for", lambda: sum(not each.is_idle for each in list(served.server.connections)) == 3
        )
        seen.set()
        assert [answer.result(20).status for answer in answers] == [200] * 3
    assert looks == ["data"]


def test_a_look_that_fails_is_told_to_who_asked_and_the_next_one_looks_again(
    served: Served, fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.call("POST", "/volumes/create", {"Name": "data"})
    with monkeypatch.context() as patch:

        def fail(volume: Volume) -> Volume:
            raise HostFailure("volume data", "the disk is away")

        patch.setattr(fakes.volume_reports, "look_at", fail)
        answer = served.call("GET", "/volumes/data")
        assert (answer.status, answer.message) == (500, "volume data: the disk is away")
    assert served.call("GET", "/volumes/data").status == 200
