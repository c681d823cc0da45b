"""Volumes of other people's drivers, which come and go without us and whose driver may be away.

Three answers there are to "is it there": yes, certainly not, and not known. Only the second one ever costs a volume its
record, and only when nobody holds it and somebody wants its name, or its removal.

Listing goes by memory: each listing has every such driver asked again, in a thread of its own, and waits a moment for
the quick ones. What they have that nobody used here yet is shown, and taken in when somebody first means it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from orlop.drivers.volumes.abilities import Asking, Independent, Question
from orlop.drivers.volumes.driver import StoredVolume, VolumeDriver
from orlop.engine.answers import is_answered
from orlop.engine.volume_records import VolumeRecords
from orlop.errors import Conflict, NotFound, OrlopError
from orlop.model.mount import Mount
from orlop.model.volume import Volume
from orlop.store.journal import Drop, Journal

log = logging.getLogger(__name__)

LISTING_SECONDS = 1.0

_NOTHING: Mapping[str, object] = {}

_Listing = Question[Sequence[StoredVolume]]
Asked = tuple[str, VolumeDriver, _Listing]


class OthersVolumes:
    """Thread-safe. Asks drivers without a lock of its own."""

    def __init__(self, journal: Journal, records: VolumeRecords, drivers: Mapping[str, VolumeDriver]) -> None:
        self._journal = journal
        self._records = records
        self._drivers = drivers
        self._lock = threading.Lock()
        self._asking: set[str] = set()  # names of drivers
        self._trouble: dict[str, str] = {}  # of drivers that could not be listed, by name
        self._passed_over: set[str] = set()  # drivers that did not answer when many were asked for a volume
        self._told: dict[str, Mapping[str, object]] = {}  # by the volume's id

    def drivers(self) -> list[tuple[str, VolumeDriver, Independent]]:
        return [(name, driver, driver) for name, driver in self._drivers.items() if isinstance(driver, Independent)]

    @property
    def are_there(self) -> bool:
        """Whether there are drivers that have to be asked, and so waited for."""
        return any(isinstance(driver, Independent) for driver in self._drivers.values())

    @property
    def are_awaited(self) -> bool:
        """Whether listings have something to say of a driver that was asked, though it may have gone meanwhile."""
        return bool(self._trouble or self._asking)

    def told(self, volume: Volume) -> Mapping[str, object]:
        """What its driver said of it when it was last looked at."""
        return self._told.get(volume.id, _NOTHING)

    def are_needed(self, mounts: Iterable[Mount]) -> bool:
        """Whether a start with these may take as long as somebody else's driver, or storage, likes."""
        return any(self._is_needed(mount) for mount in mounts if mount.volume)

    def _is_needed(self, mount: Mount) -> bool:
        volume = self._records.find(mount.volume)
        is_elsewhere = volume is not None and volume.mounts_its_content
        return is_elsewhere or isinstance(self._drivers.get(mount.driver), Independent)

    # Finding one

    def find(self, name: str) -> tuple[VolumeDriver, StoredVolume] | None:
        """Whoever has a volume of that name. Those that do not answer, soon, are passed over."""
        asked = [(driver_name, driver, other) for driver_name, driver, other in self.drivers() if not other.is_silent]
        if not asked:
            return None
        with ThreadPoolExecutor(min(len(asked), 8)) as pool:
            answers = list(pool.map(lambda each: self._find(each[0], each[2], name), asked))
        return next(((driver, found) for (_, driver, _), found in zip(asked, answers, strict=True) if found), None)

    def _find(self, driver_name: str, other: Independent, name: str) -> StoredVolume | None:
        try:
            found = other.find(name)
        except (OrlopError, OSError) as error:
            # Told once, until it answers again: somebody asks with each volume that is made.
            level = logging.DEBUG if driver_name in self._passed_over else logging.WARNING
            log.log(level, "volume driver %s is passed over, asked whether it has %s: %s", driver_name, name, error)
            self._passed_over.add(driver_name)
            return None
        self._passed_over.discard(driver_name)
        return found

    def is_there(self, volume: Volume) -> bool:
        """False only when its driver says so, and nobody holds it. Raises Conflict, in Docker's words, where it is not
        known and where somebody does."""
        driver = self._drivers.get(volume.driver)
        if driver is not None and not isinstance(driver, Independent):
            return True
        subject, end = f"create {volume.name}", "volume name must be unique"
        try:
            if driver is None:
                raise no_such_driver("", volume.driver, ())
            driver.get(volume.name)
            return True
        except OrlopError as error:
            if driver is None or not isinstance(error, NotFound):
                why = (
                    f"found reference to volume '{volume.name}' in driver '{volume.driver}', but got an error while "
                    f"checking the driver: {error.subject + ': ' if error.subject else ''}{error.why}: {end}"
                )
                raise Conflict(subject, why, error.hint) from error
        if self._records.holders(volume.name):
            why = (
                f"found references to volume '{volume.name}' in driver '{volume.driver}' but the volume was not found "
                "in the driver -- you may need to remove containers referencing this volume or force remove the volume "
                f"to re-create it: {end}"
            )
            raise Conflict(subject, why)
        return False

    def forget(self, volume: Volume, why: str) -> None:
        """Its record goes; whatever its driver has stays there. The caller holds its lock."""
        log.warning("volume %s of driver %s is forgotten: %s", volume.name, volume.driver, why)
        self._journal.commit(Drop("volumes", volume.name))
        self._records.forget(volume.name)

    def may_forget(self, volume: Volume) -> bool:
        """Whether its user may insist: its driver is somebody else's, or not there at all."""
        driver = self._drivers.get(volume.driver)
        return driver is None or isinstance(driver, Independent)

    def look_at(self, driver: VolumeDriver, volume: Volume) -> None:
        """Where it is and how it is, by the word of its driver."""
        self._note(volume, lambda: driver.get(volume.name))

    def ask(self, volume: Volume) -> Question[StoredVolume] | None:
        """`look_at` for those who cannot wait: `is_told` takes the answer. Never blocks."""
        driver = self._drivers.get(volume.driver)
        return driver.ask(volume.name) if isinstance(driver, Asking) else None

    def is_told(self, volume: Volume, question: Question[StoredVolume]) -> bool:
        """False where the question was not heard."""

        def answer() -> StoredVolume:
            stored = question.answer()
            if stored is None:
                raise _Unheard
            return stored

        try:
            self._note(volume, answer)
        except _Unheard:
            return False
        return True

    def _note(self, volume: Volume, ask: Callable[[], StoredVolume]) -> None:
        try:
            stored = ask()
        except NotFound:
            self._records.mark(volume.name, absent(volume))
        except (OrlopError, OSError) as error:
            self._records.mark(volume.name, str(error.why if isinstance(error, OrlopError) else error))
        else:
            self._told[volume.id] = self._records.redactor.hide_in(dict(stored.status))
            self._records.place(volume.name, stored.mountpoint, stored.created_at_ns)
            self._records.mark(volume.name, stored.problem)

    # Listing

    def refresh(self, seconds: float = LISTING_SECONDS) -> None:
        """Have each of them list its volumes, and wait so long for all of them together. One that was asked before and
        has not answered yet is not waited for."""
        deadline = time.monotonic() + seconds
        asked, rest = self.ask_all()
        threads = [self._list_in_thread(name, driver, None) for name, driver in rest]
        for name, driver, question in asked:
            if is_answered(question, deadline - time.monotonic()):
                self._list(name, driver, question)
            else:
                self._list_in_thread(name, driver, question)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def ask_all(self) -> tuple[list[Asked], list[tuple[str, VolumeDriver]]]:
        """`refresh` for those who cannot wait: those that were asked, whose answers `take` takes; and those that
        `list_of` has to wait for. Never blocks."""
        asked: list[Asked] = []
        rest: list[tuple[str, VolumeDriver]] = []
        for name, driver, _ in self.drivers():
            if self._claim(name):
                question = driver.ask_all() if isinstance(driver, Asking) else None
                if question is None:
                    rest.append((name, driver))
                else:
                    asked.append((name, driver, question))
        return asked, rest

    def _claim(self, name: str) -> bool:
        with self._lock:
            is_free = name not in self._asking
            self._asking.add(name)
            return is_free

    def _list_in_thread(self, name: str, driver: VolumeDriver, question: _Listing | None) -> threading.Thread:
        thread = threading.Thread(target=self._list, args=(name, driver, question), name=f"list {name}", daemon=True)
        thread.start()
        return thread

    def _list(self, name: str, driver: VolumeDriver, question: _Listing | None) -> None:
        if question is None or not is_answered(question, question.seconds + 1.0) or not self.take(name, question):
            self.list_of(name, driver)

    def take(self, name: str, question: _Listing) -> bool:
        """An answer to `ask_all`. False where it does not do, and `list_of` is to be asked. Never blocks."""
        try:
            found = question.answer()
            is_taken = found is not None and self._listed(name, found, lambda volume: False)
        except (OrlopError, OSError) as error:
            self._failed(name, error)
            is_taken = True
        if is_taken:
            self._asking.discard(name)
        return is_taken

    def list_of(self, name: str, driver: VolumeDriver) -> None:
        """One that was claimed by `ask_all`. Waits for it."""

        def look_at(volume: Volume) -> bool:
            self.look_at(driver, volume)
            return True

        try:
            self._listed(name, driver.list_volumes(), look_at)
        except (OrlopError, OSError) as error:
            self._failed(name, error)
        finally:
            self._asking.discard(name)

    def _listed(self, name: str, volumes: Sequence[StoredVolume], look_at: Callable[[Volume], bool]) -> bool:
        there = {found.name: found for found in volumes}
        self._trouble.pop(name, None)
        for volume in self._of(name):
            found = there.get(volume.name)
            if found is not None:
                self._records.place(volume.name, found.mountpoint, 0)
                self._records.mark(volume.name, found.problem)
            elif not look_at(volume):  # a listing may leave out what is there
                return False
        return True

    def _failed(self, name: str, error: OrlopError | OSError) -> None:
        why = error.why if isinstance(error, OrlopError) else str(error)
        self._trouble[name] = self._records.redactor.hide(why)
        for volume in self._of(name):
            self._records.mark(volume.name, f"its driver {name} does not answer: {self._trouble[name]}")

    def _of(self, driver: str) -> list[Volume]:
        return [volume for volume in self._records.all() if volume.driver == driver]

    def strangers(self) -> list[Volume]:
        """What they were last seen to have and nobody here has used."""
        found: dict[str, Volume] = {}
        for name, driver, other in self.drivers():
            for stored in other.seen() if name not in self._trouble else ():
                if stored.name not in found and self._records.find(stored.name) is None:
                    found[stored.name] = Volume(
                        stored.name, "", name, stored.created_at_ns, stored.mountpoint, scope=driver.scope
                    )
        return list(found.values())

    def warnings(self, volumes: Sequence[Volume]) -> list[str]:
        """Of these: one for a driver that did not answer, one for each volume that has a problem of its own."""
        silent = {volume.driver for volume in volumes if volume.driver in self._trouble}
        asked = [name for name in list(self._asking) if name not in silent and self._of(name)]
        known = "its volumes are as last known"
        return [
            *(f"volume driver {name}: {self._trouble[name]}; {known}" for name in sorted(silent)),
            *(f"volume driver {name}: it has not answered yet; {known}" for name in sorted(asked)),
            *(f"volume {each.name}: {each.problem}" for each in volumes if each.problem and each.driver not in silent),
        ]

    def look_closely(self) -> list[str]:
        """Once the API is served: what is wrong with them, in words."""
        self.refresh(seconds=15.0)
        found = [volume for name, _, _ in self.drivers() for volume in self._of(name) if volume.problem]
        return [f"volume {volume.name}: {volume.problem}" for volume in found]


class _Unheard(Exception):
    """A question that nobody took."""


def find_stored(driver: VolumeDriver, name: str) -> StoredVolume | None:
    """What the driver has of that name, whoever made it."""
    if isinstance(driver, Independent):
        return driver.find(name)
    try:
        return driver.get(name)
    except NotFound:
        return None


def absent(volume: Volume) -> str:
    return f"its driver {volume.driver} says that there is no such volume"


def no_such_driver(subject: str, name: str, known: Sequence[str]) -> NotFound:
    why = f'error looking up volume plugin {name}: plugin "{name}" not found'
    return NotFound(subject, why, f"Drivers here: {', '.join(sorted(known))}" if known else "")
