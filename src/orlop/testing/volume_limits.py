"""What a driver promises that keeps volumes below a limit (`Limited`), also while it is changed (`Changing`)."""

import errno
import os
import threading
from pathlib import Path

import pytest

from orlop.drivers.volumes.abilities import Changing, Limited, Retirement, Usage
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.errors import Conflict, OrlopError
from orlop.testing.volume_fixtures import RECORD, VolumeFixtures, new_id

MIB = 1 << 20


def fill(path: Path, most_bytes: int = 256 * MIB) -> int:
    """Write until there is no room; how much went in. What only reached the cache is written out, too."""
    written = 0
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while written < most_bytes:
            written += os.write(fd, os.urandom(MIB))
            os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return written
    finally:
        os.close(fd)
    return -1


class LimitContract(VolumeFixtures):
    limited: dict[str, str] = {"size": "16m"}
    larger: dict[str, str] = {"size": "32m"}
    smaller: dict[str, str] = {"size": "8m"}
    grows_online = True  # False where the kernel does not let this process

    def unlimited(self, name: str) -> dict[str, str]:
        return {key: value for key, value in self.options_of(name).items() if key not in self.limited}

    def limits(self, driver: VolumeDriver) -> Limited:
        assert isinstance(driver, Limited)
        return driver

    def test_a_limit_is_told_with_who_keeps_it(self, driver: VolumeDriver) -> None:
        driver.create("data", self.limited, RECORD)
        found = self.limits(self.reopened(driver)).limits("data")
        assert found.size_bytes == 16 * MIB and found.mechanism
        driver.create("free", self.unlimited("free"), RECORD)
        assert self.limits(driver).limits("free").size_bytes == 0

    def test_no_more_goes_in_than_the_limit_and_others_are_not_harmed(self, driver: VolumeDriver) -> None:
        for name, options in (("data", self.limited), ("other", self.limited), ("free", self.unlimited("free"))):
            driver.create(name, options, RECORD)
        use = new_id()
        top = driver.attach("data", use)
        assert 14 * MIB <= fill(top / "much") <= 16 * MIB
        for name in ("other", "free"):
            other = driver.attach(name, use)
            (other / "note").write_bytes(b"x" * MIB)
            assert len((other / "note").read_bytes()) == MIB
            driver.detach(name, use)
        (top / "much").unlink()
        (top / "note").write_text("room again")
        driver.detach("data", use)

    def test_a_volume_made_again_has_a_limit_of_its_own(self, driver: VolumeDriver) -> None:
        for size in ("8m", "24m"):
            driver.create("data", self.options_of("data") | {"size": size}, RECORD)
            use = new_id()
            written = fill(driver.attach("data", use) / "much")
            driver.detach("data", use)
            assert isinstance(driver, Retirement)
            retired_id = new_id()
            driver.retire("data", retired_id, RECORD)
            driver.purge(retired_id)
            driver.cleanup()
            assert int(size[:-1]) * MIB * 3 // 4 <= written <= int(size[:-1]) * MIB

    def test_the_limit_comes_back_with_a_restored_volume(self, driver: VolumeDriver) -> None:
        driver.create("data", self.limited, RECORD)
        self.written(driver)
        assert isinstance(driver, Retirement)
        retired_id = new_id()
        driver.retire("data", retired_id, RECORD)
        driver.restore(retired_id, "back", RECORD)
        use = new_id()
        top = driver.attach("back", use)
        assert (top / "note").read_text() == "kept"
        assert 0 < fill(top / "much") <= 16 * MIB
        driver.detach("back", use)

    def test_it_grows_and_keeps_its_bytes(self, driver: VolumeDriver) -> None:
        driver.create("data", self.limited, RECORD)
        self.written(driver)
        assert isinstance(driver, Changing)
        for _ in range(2):
            driver.change("data", self.larger, RECORD)
        assert self.limits(self.reopened(driver)).limits("data").size_bytes == 32 * MIB
        assert self.read(driver) == "kept"
        use = new_id()
        assert 24 * MIB < fill(driver.attach("data", use) / "much") <= 32 * MIB
        driver.detach("data", use)

    def test_it_grows_while_it_is_in_use(self, driver: VolumeDriver) -> None:
        driver.create("data", self.limited, RECORD)
        use = new_id()
        top = driver.attach("data", use)
        assert fill(top / "much") <= 16 * MIB
        assert isinstance(driver, Changing)
        if self.grows_online:
            driver.change("data", self.larger, RECORD)
            assert 12 * MIB < fill(top / "more") <= 17 * MIB
        else:
            with pytest.raises(Conflict, match="in use"):
                driver.change("data", self.larger, RECORD)
            assert self.limits(driver).limits("data").size_bytes == 16 * MIB
        driver.detach("data", use)

    def test_it_shrinks_only_as_far_as_nothing_is_lost(self, driver: VolumeDriver) -> None:
        driver.create("data", self.limited, RECORD)
        assert isinstance(driver, Changing)
        use = new_id()
        top = driver.attach("data", use)
        (top / "note").write_text("kept")
        (top / "much").write_bytes(os.urandom(12 * MIB))
        driver.detach("data", use)
        with pytest.raises(Conflict):
            driver.change("data", self.smaller, '{"id": "2"}')
        assert self.limits(driver).limits("data").size_bytes == 16 * MIB
        top = driver.attach("data", use)
        (top / "much").unlink()
        os.sync()
        driver.detach("data", use)
        driver.change("data", self.smaller, '{"id": "2"}')
        assert self.read(driver) == "kept"
        assert 4 * MIB < fill(driver.attach("data", use) / "much") <= 8 * MIB
        driver.detach("data", use)

    def test_what_is_counted_follows_what_is_stored(self, driver: VolumeDriver) -> None:
        assert isinstance(driver, Usage)
        driver.create("data", self.limited, RECORD)
        before = driver.counted("data")
        use = new_id()
        top = driver.attach("data", use)
        (top / "much").write_bytes(os.urandom(4 * MIB))
        os.sync()
        for _ in range(2):
            after = driver.counted("data")
            assert before is not None and after is not None
            assert 4 * MIB <= after.disk_bytes - before.disk_bytes < 5 * MIB
            if after.entries >= 0:
                assert (before.entries, after.entries) == (0, 1)
            driver.detach("data", use)

    def test_many_may_come_and_go_at_once(self, driver: VolumeDriver) -> None:
        driver.create("data", self.limited, RECORD)
        self.written(driver)
        failures: list[BaseException] = []

        def come_and_go() -> None:
            try:
                for _ in range(6):
                    use = new_id()
                    top = driver.attach("data", use)
                    assert (top / "note").read_text() == "kept"
                    (top / use).write_text("mine")
                    driver.detach("data", use)
            except (OrlopError, OSError, AssertionError) as error:
                failures.append(error)

        threads = [threading.Thread(target=come_and_go) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        use = new_id()
        assert len(list(driver.attach("data", use).iterdir())) == 37
        driver.detach("data", use)


class InodeLimitContract(VolumeFixtures):
    def test_no_more_files_go_in_than_the_limit(self, driver: VolumeDriver) -> None:
        driver.create("data", {"size": "16m", "inodes": "100"}, RECORD)
        use = new_id()
        top = driver.attach("data", use)
        made = 0
        with pytest.raises(OSError) as refused:
            for made in range(1000):
                (top / f"file{made}").touch()
        assert refused.value.errno in (errno.ENOSPC, errno.EDQUOT)
        assert 100 <= made < 180
        driver.detach("data", use)
