"""Asking a plugin without waiting for it: the same answers as those of the calls that wait, or nothing at all."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.docker.asking import answered
from orlop.drivers.volumes.abilities import Question
from orlop.drivers.volumes.driver import StoredVolume
from orlop.drivers.volumes.plugin import PluginVolumes
from orlop.drivers.volumes.plugin_address import Address
from orlop.drivers.volumes.plugin_link import Deadlines
from orlop.drivers.volumes.plugin_source import PluginSource
from orlop.engine.answers import is_answered
from orlop.errors import HostFailure, NoSuchVolume, Unavailable
from support.daemon import wait_for
from support.fake_plugin import CLOSES, HANGS, FakePlugin, Misdeed

SHORT = Deadlines(call=1.0)


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[FakePlugin]:
    made = FakePlugin(tmp_path / "plugins", tmp_path / "volumes")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def source(tmp_path: Path, plugin: FakePlugin) -> Iterator[PluginSource]:
    source = PluginSource(tmp_path / "run", [tmp_path / "plugins"])
    yield source
    source.close()


@pytest.fixture
def driver(source: PluginSource) -> PluginVolumes:
    found = source.find("fake")
    assert found is not None
    return found


def ended(question: Question[object] | None) -> Question[object]:
    assert question is not None
    assert is_answered(question, 10.0)
    return question


def test_the_answers_are_those_of_the_calls_that_wait(driver: PluginVolumes) -> None:
    driver.create("one", {}, "")
    driver.create("two", {}, "")
    assert ended(driver.ask("one")).answer() == driver.get("one")
    assert ended(driver.ask_all()).answer() == driver.list_volumes()
    assert [stored.name for stored in driver.seen()] == ["one", "two"]


def test_one_question_after_another_goes_over_the_same_line(driver: PluginVolumes, plugin: FakePlugin) -> None:
    driver.create("data", {}, "")
    for _ in range(3):
        assert ended(driver.ask("data")).answer() is not None
    assert len(plugin._open) == 1


def test_a_plugin_that_nobody_has_talked_to_yet_is_not_asked(driver: PluginVolumes, plugin: FakePlugin) -> None:
    assert driver.ask("data") is None
    assert driver.ask_all() is None
    assert plugin.calls == []


def test_a_plugin_that_took_the_place_of_another_is_not_asked(driver: PluginVolumes, plugin: FakePlugin) -> None:
    driver.create("data", {}, "")
    plugin.stop()
    plugin.start()
    assert driver.ask("data") is None
    assert driver.get("data").name == "data"
    assert ended(driver.ask("data")).answer() is not None


def test_a_plugin_that_is_being_started_again_is_not_asked(
    driver: PluginVolumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.create("data", {}, "")

    def refuse() -> Address:
        raise Unavailable("error looking up volume plugin fake", "its process ended with status 137")

    monkeypatch.setattr(driver._link, "_locate", refuse)
    assert driver.ask("data") is None
    assert driver.ask_all() is None


def test_a_volume_that_is_not_there_is_an_error(driver: PluginVolumes) -> None:
    driver.create("data", {}, "")
    question = ended(driver.ask("other"))
    with pytest.raises(NoSuchVolume):
        question.answer()


def test_an_error_of_the_plugin_is_not_an_absence(driver: PluginVolumes, plugin: FakePlugin) -> None:
    driver.create("data", {}, "")
    plugin.script["Get"] = [{"Err": "the disk is tired"}]
    question = ended(driver.ask("data"))
    with pytest.raises(HostFailure, match="the disk is tired"):
        question.answer()


def test_a_question_that_nobody_heard_is_no_answer(driver: PluginVolumes, plugin: FakePlugin) -> None:
    driver.create("data", {}, "")
    plugin.script["Get"] = [CLOSES]
    assert ended(driver.ask("data")).answer() is None
    assert driver.get("data").name == "data"


def test_half_an_answer_is_an_error(driver: PluginVolumes, plugin: FakePlugin) -> None:
    driver.create("data", {}, "")
    plugin.script["Get"] = [Misdeed(body=b'{"Volume": ')]
    question = ended(driver.ask("data"))
    with pytest.raises(HostFailure, match="no JSON"):
        question.answer()


def test_a_plugin_that_does_not_answer_in_time_is_silent_from_then_on(
    driver: PluginVolumes, plugin: FakePlugin, source: PluginSource
) -> None:
    driver.create("data", {}, "")
    plugin.script["Get"] = [HANGS]
    plugin.always["Plugin.Activate"] = HANGS
    source._deadlines = SHORT
    question = driver.ask("data")
    assert question is not None
    assert not question.look()
    assert ended(question).look()
    with pytest.raises(Unavailable, match="no answer within"):
        question.answer()
    assert driver.is_silent
    assert driver.ask("data") is None


def test_an_answer_that_comes_in_pieces_is_put_together(driver: PluginVolumes, plugin: FakePlugin) -> None:
    driver.create("data", {}, "")
    plugin.script["Get"] = [Misdeed(body=b'{"Volume": {"Name": "data"}}', dribbles=True)]
    question = driver.ask("data")
    assert question is not None
    wait_for("the end of the answer", question.look)
    assert question.answer() == StoredVolume("data", "", 0)


def test_a_listing_that_says_something_else_is_read_anew(driver: PluginVolumes, plugin: FakePlugin) -> None:
    driver.create("data", {}, "")
    before = driver.list_volumes()
    assert driver.list_volumes() is before
    plugin.always["List"] = {"Volumes": [{"Name": "data", "Mountpoint": "/elsewhere"}]}
    assert [stored.mountpoint for stored in driver.list_volumes()] == ["/elsewhere"]


def test_a_line_goes_back_also_when_nobody_waits_for_the_answer_any_more(
    driver: PluginVolumes, plugin: FakePlugin
) -> None:
    driver.create("data", {}, "")

    async def leave() -> None:
        question = driver.ask("data")
        assert question is not None
        waiting = answered(question)
        waiting.cancel()
        while driver.ask_all() is None:  # its only line is taken until the answer is there
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(leave(), 10))
    assert plugin.named("Get") == [{"Name": "data"}] * 2
