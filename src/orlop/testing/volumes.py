"""The contract suite of volume drivers: every driver's test file derives from it and says how to make one.

class TestLocal(VolumeDriverContract):
    @pytest.fixture
    def driver(self) -> Iterator[VolumeDriver]: ...           # empty; cleaned up afterwards
    def reopened(self, driver) -> VolumeDriver: ...           # as a daemon started anew would have it

The suites of the abilities (`RetirementContract`, `StagingContract`, `UsageContract`, `SelfDescribingContract`; in
volume_changes `RenamingContract`, `ChangingContract`, `LastingUsesContract`; in volume_adoption `AdoptingContract`) are
mixed in by those who have them. What is different for one kind of volume is a trait, declared in its class.
"""

import os
import threading
from pathlib import Path

import pytest

from orlop.drivers.volumes.abilities import Retirement, SelfDescribing, Settling, Staging, Usage
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.errors import Conflict, Malformed, NotFound, OrlopError
from orlop.testing.volume_fixtures import RECORD, VolumeFixtures, names, new_id


class VolumeDriverContract(VolumeFixtures):
    """Method names are the promises."""

    def test_it_says_what_it_is(self, driver: VolumeDriver) -> None:
        assert driver.name
        assert driver.scope in ("local", "global")

    def test_a_volume_that_was_made_is_found_and_listed(self, driver: VolumeDriver) -> None:
        stored = self.made(driver)
        assert stored.name == "data" and not stored.problem
        assert driver.get("data") == stored
        assert list(driver.list_volumes()) == [stored]

    def test_making_it_again_changes_nothing(self, driver: VolumeDriver) -> None:
        first = self.made(driver)
        self.written(driver)
        assert self.made(driver).name == first.name
        assert self.read(driver) == self.lasting("kept")

    def test_after_a_restart_the_listing_tells_the_truth(self, driver: VolumeDriver) -> None:
        for name in ("one", "two", "three"):
            self.made(driver, name)
        if self.undoes_creation:
            driver.discard("two")
        left = ["one", "three"] if self.undoes_creation else ["one", "three", "two"]
        assert names(self.reopened(driver)) == left

    def test_an_unknown_volume_is_not_found(self, driver: VolumeDriver) -> None:
        with pytest.raises(NotFound):
            driver.get("unknown")
        with pytest.raises(NotFound):
            driver.attach("unknown", new_id())
        assert names(driver) == []

    @pytest.mark.parametrize("name", ["", "..", "../escape", "a/../../b", "/etc", "with\x00nul"])
    def test_a_name_cannot_lead_out_of_the_root(self, driver: VolumeDriver, name: str) -> None:
        with pytest.raises(Malformed):
            driver.check(name, self.options_of("data"))
        with pytest.raises((Malformed, NotFound)):
            driver.create(name, self.options_of("data"), RECORD)
        assert names(driver) == []

    def test_what_a_check_refuses_leaves_no_trace(self, driver: VolumeDriver) -> None:
        driver.check("data", self.options_of("data"))
        assert names(driver) == []

    def test_two_uses_see_the_same_bytes(self, driver: VolumeDriver) -> None:
        self.made(driver)
        first, second = new_id(), new_id()
        (driver.attach("data", first) / "note").write_text("shared")
        assert (driver.attach("data", second) / "note").read_text() == "shared"
        driver.detach("data", first)
        assert (driver.attach("data", second) / "note").read_text() == "shared"
        driver.detach("data", second)

    def test_attaching_twice_is_success_and_so_is_detaching_twice(self, driver: VolumeDriver) -> None:
        self.made(driver)
        use = new_id()
        assert driver.attach("data", use) == driver.attach("data", use)
        for _ in range(3):
            driver.detach("data", use)
        driver.detach("unknown", use)

    def test_a_use_outlives_the_daemon(self, driver: VolumeDriver) -> None:
        self.made(driver)
        first, second = new_id(), new_id()
        path = driver.attach("data", first)
        (path / "note").write_text("kept")
        again = self.reopened(driver)
        assert (path / "note").read_text() == "kept"
        again.attach("data", second)
        again.detach("data", second)
        assert (path / "note").read_text() == "kept", "the first use was still attached"
        again.detach("data", first)

    def test_bytes_are_still_there_when_nobody_uses_them(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver)
        assert self.read(self.reopened(driver)) == self.lasting("kept")

    def test_undoing_a_create_takes_only_what_nobody_wrote_to(self, driver: VolumeDriver) -> None:
        self.made(driver, "empty")
        if not self.undoes_creation:
            with pytest.raises(Conflict):
                driver.discard("empty")
            assert names(driver) == ["empty"]
            return
        driver.discard("empty")
        driver.discard("empty")
        self.made(driver, "used")
        self.written(driver, "used")
        if self.holds_its_bytes:
            with pytest.raises(Conflict):
                driver.discard("used")
        else:
            driver.discard("used")
            self.made(driver, "used")
        assert self.read(driver, "used") == self.lasting("kept")
        assert names(driver) == ["used"]


class RetirementContract(VolumeFixtures):
    def retirement(self, driver: VolumeDriver) -> Retirement:
        assert isinstance(driver, Retirement)
        return driver

    def test_a_retired_volume_is_out_of_sight_and_its_name_is_free(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver, text="old")
        retired_id = new_id()
        self.retirement(driver).retire("data", retired_id, RECORD)
        assert names(driver) == []
        assert self.retirement(driver).list_retired() == [retired_id]
        self.made(driver)
        self.written(driver, text="new")
        if isinstance(driver, Settling):
            driver.settle()
        assert self.read(driver) == self.lasting("new")

    def test_restoring_brings_back_every_byte_also_after_a_restart(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver)
        retired_id = new_id()
        self.retirement(driver).retire("data", retired_id, RECORD)
        again = self.reopened(driver)
        stored = self.retirement(again).restore(retired_id, "other", RECORD)
        assert stored.name == "other" and not stored.problem
        assert self.read(again, "other") == self.lasting("kept")
        assert self.retirement(again).list_retired() == []

    def test_retiring_and_restoring_twice_is_success(self, driver: VolumeDriver) -> None:
        self.made(driver)
        retired_id = new_id()
        for _ in range(2):
            self.retirement(driver).retire("data", retired_id, RECORD)
        for _ in range(2):
            self.retirement(driver).restore(retired_id, "data", RECORD)
        assert names(driver) == ["data"]

    def test_restoring_never_replaces_a_volume(self, driver: VolumeDriver) -> None:
        self.made(driver)
        retired_id = new_id()
        self.retirement(driver).retire("data", retired_id, RECORD)
        self.made(driver)
        self.written(driver, text="new")
        with pytest.raises(Conflict):
            self.retirement(driver).restore(retired_id, "data", RECORD)
        assert self.read(driver) == self.lasting("new")
        assert self.retirement(driver).list_retired() == [retired_id]

    def test_what_was_never_retired_cannot_be_restored(self, driver: VolumeDriver) -> None:
        with pytest.raises(NotFound):
            self.retirement(driver).restore(new_id(), "data", RECORD)
        with pytest.raises(NotFound):
            self.retirement(driver).retire("unknown", new_id(), RECORD)

    def test_purging_is_final_and_purging_again_is_success(self, driver: VolumeDriver) -> None:
        self.made(driver)
        self.written(driver)
        retired_id = new_id()
        self.retirement(driver).retire("data", retired_id, RECORD)
        for _ in range(2):
            self.retirement(driver).purge(retired_id)
            assert self.retirement(driver).list_retired() == []
        self.retirement(self.reopened(driver)).cleanup()
        with pytest.raises(NotFound):
            self.retirement(driver).restore(retired_id, "data", RECORD)

    def test_several_may_clean_up_at_once(self, driver: VolumeDriver) -> None:
        for number in range(8):
            self.made(driver)
            use = new_id()
            top = driver.attach("data", use)
            for name in range(20):
                (top / f"{number}-{name}" / "sub").mkdir(parents=True)
            driver.detach("data", use)
            retired_id = new_id()
            self.retirement(driver).retire("data", retired_id, RECORD)
            self.retirement(driver).purge(retired_id)
        failures: list[Exception] = []

        def clean_up() -> None:
            try:
                self.retirement(driver).cleanup()
            except (OrlopError, OSError) as error:
                failures.append(error)

        threads = [threading.Thread(target=clean_up) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []

    def test_purging_one_leaves_the_others_alone(self, driver: VolumeDriver) -> None:
        ids = {}
        for name in ("one", "two"):
            self.made(driver, name)
            self.written(driver, name, text=name)
            ids[name] = new_id()
            self.retirement(driver).retire(name, ids[name], RECORD)
        self.made(driver, "live")
        self.written(driver, "live", text="live")
        self.retirement(driver).purge(ids["one"])
        self.retirement(driver).cleanup()
        self.retirement(driver).restore(ids["two"], "two", RECORD)
        assert self.read(driver, "two") == self.lasting("two")
        assert self.read(driver, "live") == self.lasting("live")


class SelfDescribingContract(VolumeFixtures):
    def test_the_record_beside_the_data_comes_back(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, SelfDescribing) and isinstance(driver, Retirement)
        driver.create("data", self.options_of("data"), '{"id": "é"}')
        assert driver.metadata("data") == '{"id": "é"}'
        driver.retire("data", "a" * 64, '{"why": "rm"}')
        assert driver.retired_metadata("a" * 64) == '{"why": "rm"}'
        driver.restore("a" * 64, "data", '{"id": "new"}')
        assert driver.metadata("data") == '{"id": "new"}'

    def test_another_record_is_kept_and_nothing_else_changes(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, SelfDescribing)
        driver.create("data", self.options_of("data"), RECORD)
        self.written(driver)
        options = driver.options("data")
        driver.describe("data", '{"id": "new"}')
        again = self.reopened(driver)
        assert isinstance(again, SelfDescribing)
        assert again.metadata("data") == '{"id": "new"}' and again.options("data") == options
        assert self.read(again) == self.lasting("kept")
        with pytest.raises(NotFound):
            driver.describe("unknown", RECORD)
        with pytest.raises(NotFound):
            driver.options("unknown")

    def test_the_options_it_tells_make_the_same_volume_again(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, SelfDescribing)
        driver.create("data", self.options_of("data"), RECORD)
        told = driver.options("data")
        driver.check("other", told)
        driver.discard("data")
        driver.create("data", told, RECORD)
        assert driver.options("data") == told


class UsageContract(VolumeFixtures):
    def test_usage_counts_apparent_sizes_and_hard_links_once(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, Usage)
        self.made(driver)
        use = new_id()
        top = driver.attach("data", use)
        assert driver.usage_bytes("data") == 0
        (top / "a" / "b").mkdir(parents=True)
        (top / "a" / "b" / "file").write_bytes(b"x" * 1000)
        os.link(top / "a" / "b" / "file", top / "again")
        with (top / "sparse").open("wb") as file:
            file.truncate(1 << 20)
        (top / "link").symlink_to("12345")
        assert driver.usage_bytes("data") == 1000 + (1 << 20) + 5
        driver.detach("data", use)

    def test_usage_of_what_is_not_there_is_not_a_number(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, Usage)
        with pytest.raises(NotFound):
            driver.usage_bytes("unknown")


class StagingContract(VolumeFixtures):
    def staged(self, driver: VolumeDriver) -> Path:
        assert isinstance(driver, Staging)
        self.made(driver)
        path = driver.stage("data", "one")
        (path / "sub").mkdir()
        (path / "note").write_text("staged")
        path.chmod(0o750)
        return path

    def seen(self, top: Path | int) -> list[str]:
        """What is staged may lie in the volume itself, under a hidden name. Listed anew: btrfs shows in an open
        directory only what was there when it was opened."""
        place = top if isinstance(top, Path) else Path(f"/proc/self/fd/{top}")
        return sorted(name for name in os.listdir(place) if name not in self.own_entries and not name.startswith("."))

    @pytest.mark.parametrize("in_use", [False, True])
    def test_what_is_staged_is_seen_only_when_it_is_published(self, driver: VolumeDriver, in_use: bool) -> None:
        assert isinstance(driver, Staging)
        self.staged(driver)
        use = new_id()
        assert self.seen(driver.attach("data", use)) == []
        driver.publish("data", "one", in_use)
        top = driver.attach("data", use)
        assert self.seen(top) == ["note", "sub"]
        assert not [name for name in os.listdir(top) if name.startswith(".")]
        assert top.stat().st_mode & 0o7777 == (0o750 if self.top_mode is None else self.top_mode)
        assert driver.list_staged() == []
        driver.publish("data", "one", in_use)
        driver.detach("data", use)

    def test_who_has_the_volume_open_sees_what_is_published(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, Staging)
        self.staged(driver)
        use = new_id()
        fd = os.open(driver.attach("data", use), os.O_RDONLY | os.O_DIRECTORY)
        try:
            driver.publish("data", "one", in_use=True)
            assert self.seen(fd) == ["note", "sub"]
        finally:
            os.close(fd)
        driver.detach("data", use)

    def test_a_volume_that_got_content_meanwhile_keeps_it(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, Staging)
        self.staged(driver)
        self.written(driver, text="mine")
        with pytest.raises(Conflict):
            driver.publish("data", "one", in_use=False)
        assert self.read(driver) == "mine"
        use = new_id()
        driver.attach("data", use)
        driver.publish("data", "one", in_use=True)
        assert self.read(driver) == "mine"
        driver.detach("data", use)

    def test_only_an_empty_volume_is_staged_for(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, Staging)
        self.made(driver)
        use = new_id()
        (driver.attach("data", use) / "note").write_text("mine")
        assert not driver.is_empty("data")
        with pytest.raises(Conflict):
            driver.stage("data", "one")
        assert driver.list_staged() == []
        driver.detach("data", use)
        self.made(driver, "empty")
        driver.attach("empty", use)
        assert driver.is_empty("empty")
        driver.detach("empty", use)

    def test_what_a_crash_left_staged_is_found_and_thrown_away(self, driver: VolumeDriver) -> None:
        self.staged(driver)
        again = self.reopened(driver)
        assert isinstance(again, Staging)
        assert again.list_staged() == ["one"]
        for _ in range(2):
            again.unstage("one")
        assert again.list_staged() == []
        assert names(again) == ["data"]
