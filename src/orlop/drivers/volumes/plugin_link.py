"""The line to one plugin: found, activated, asked, and given up on while it does not answer.

    away     nothing names it, or nobody listens there: a call tries a few times within two seconds; those that come
             soon after a failure try once
    silent   it took a call and did not answer in time: from then on every call fails at once, while one thread asks
             now and then whether it is back
    there    activated, which is done anew when somebody else sits at its address

A request is sent again only where nothing of it was sent before.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from orlop.drivers.volumes.plugin_address import Address
from orlop.drivers.volumes.plugin_answers import Misunderstood, Refused, parse_answer, parse_implements, parse_scope
from orlop.drivers.volumes.plugin_question import PluginQuestion
from orlop.drivers.volumes.plugin_wire import CannotConnect, NoAnswer, PluginWire, TooLate
from orlop.errors import HostFailure, OrlopError, Unavailable
from orlop.model.value import dataclass

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_WAITS = (0.1, 0.3, 0.6, 1.0)
_LATELY_SECONDS = 30.0
_PROBE_PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0)
_VOLUME_DRIVER = "VolumeDriver"
_QUESTIONS = {"Plugin.Activate", *(f"{_VOLUME_DRIVER}.{method}" for method in ("Capabilities", "Get", "List", "Path"))}


@dataclass(frozen=True, slots=True)
class Deadlines:
    """In seconds, for a call as a whole. Docker's, but for the first contact, which has none there."""

    activation: float = 10.0
    call: float = 60.0
    mount: float = 120.0  # and for making a volume
    look: float = 5.0  # where many are asked and one that does not answer must not keep the others waiting

    def at_most(self, seconds: float) -> "Deadlines":
        """0: as they are."""
        if not seconds:
            return self
        return Deadlines(*(min(each, seconds) for each in (self.activation, self.call, self.mount, self.look)))


class PluginLink:
    """Thread-safe. `locate` says where the plugin is now, None where nothing names it, or raises why it is nowhere.
    `is_known` to be a volume driver: it need not be asked."""

    def __init__(
        self,
        name: str,
        locate: Callable[[], Address | None],
        deadlines: Callable[[], Deadlines],
        is_known: bool = False,
    ) -> None:
        self.name = name
        self._deadlines = deadlines
        self._is_known = is_known
        self._locate = locate
        self._lock = threading.Lock()
        self._activating = threading.Lock()
        self._active: Address | None = None  # as it was activated
        self._scope = "local"
        self._failed: tuple[float, OrlopError] | None = None  # the last activation
        self._unreached_at = -_LATELY_SECONDS
        self._silent: tuple[Address, str] | None = None
        self._closed = threading.Event()
        self._wire = PluginWire()

    @property
    def deadlines(self) -> Deadlines:
        """They may be others the next time that it is asked."""
        return self._deadlines()

    @property
    def scope(self) -> str:
        """As it said when it was activated."""
        return self._scope

    @property
    def address(self) -> Address | None:
        """Where the plugin is now. Raises what a file that makes no sense raises."""
        return self._locate()

    @property
    def is_silent(self) -> bool:
        return self._silent is not None

    def close(self) -> None:
        self._closed.set()
        self._wire.close()

    def call(
        self, method: str, request: Mapping[str, Any], seconds: float = 0.0, patient: bool = True
    ) -> dict[str, Any]:
        """Its answer, by lower-case keys. Without `seconds` the deadline is that of most calls; who is not `patient`
        tries to reach it but once. Raises Refused, Misunderstood, CannotConnect, NoAnswer; Unavailable where it is away
        or silent, HostFailure where it is no volume driver."""
        seconds = seconds or self.deadlines.call
        address = self.activate(seconds, patient)
        return self._ask(address, f"{_VOLUME_DRIVER}.{method}", request, seconds, patient)

    def begin(
        self, method: str, request: Mapping[str, Any], parse: Callable[[Callable[[], dict[str, Any]]], T]
    ) -> PluginQuestion[T] | None:
        """Ask without waiting; None where it cannot be asked now. Reads no file: never blocks."""
        address = self._active
        if address is None or self._silent is not None or not address.is_named_by_socket:
            return None
        try:
            if self._locate() != address:
                return None
        except OrlopError:  # who has to wait for the answer is told why
            return None
        method = f"{_VOLUME_DRIVER}.{method}"
        sent = self._wire.send(address, method, msgspec.json.encode(request), self.deadlines.call)
        if sent is None:
            return None
        return PluginQuestion(method, sent, parse, lambda why: self._fell_silent(address, why))

    def activate(self, seconds: float = 0.0, patient: bool = True) -> Address:
        """Where it is, once it has said that it is a volume driver. One asks at a time; who waited for that one gets
        what it got."""
        address = self._require_address()
        if self._active == address:
            return address
        began = time.monotonic()
        patience = min(seconds or self.deadlines.activation, self.deadlines.activation)
        if not self._activating.acquire(timeout=patience):
            raise Unavailable(self._subject, "it is being asked what it is, and does not answer")
        try:
            if self._active != address:
                if self._failed is not None and self._failed[0] >= began:
                    raise self._failed[1]
                self._activate(address, patience, patient)
            return address
        except OrlopError as error:
            self._failed = (time.monotonic(), error)
            raise
        finally:
            self._activating.release()

    @property
    def _subject(self) -> str:
        return f"error looking up volume plugin {self.name}"

    def _require_address(self) -> Address:
        address = self._locate()
        if address is None:
            hint = "Start the plugin: nothing in the directories of plugins names it now"
            raise Unavailable(self._subject, f'plugin "{self.name}" not found', hint)
        silent = self._silent
        if silent is not None and silent[0] == address:
            hint = "Restart the plugin; it is asked again in the background and used as soon as it answers"
            raise Unavailable(f"volume plugin {self.name}", f"it does not answer ({silent[1]})", hint)
        return address

    def _activate(self, address: Address, seconds: float, patient: bool) -> None:
        if self._is_known:
            self._greet(address, seconds)
            return
        try:
            implements = parse_implements(self._ask(address, "Plugin.Activate", None, seconds, patient))
        except (CannotConnect, NoAnswer) as error:
            raise Unavailable(self._subject, str(error), "Start the plugin again") from error
        except (Misunderstood, Refused) as error:
            raise HostFailure(self._subject, str(error)) from error
        if _VOLUME_DRIVER not in implements:
            why = (
                f'legacy plugin: Plugin does not implement the requested driver: plugin="{self.name}", '
                f'requested implementation="{_VOLUME_DRIVER}"'
            )
            raise HostFailure(self._subject, why)
        self._greet(address, seconds)

    def _greet(self, address: Address, seconds: float) -> None:
        self._scope = self._ask_scope(address, seconds)
        self._active = address
        log.info("volume plugin %s answers at %s", self.name, address)

    def _ask_scope(self, address: Address, seconds: float) -> str:
        """Many plugins do not know the question: local, then."""
        try:
            return parse_scope(self._ask(address, f"{_VOLUME_DRIVER}.Capabilities", {}, seconds)) or "local"
        except (Misunderstood, Refused):
            return "local"
        except (CannotConnect, NoAnswer) as error:
            raise Unavailable(self._subject, str(error), "Start the plugin again") from error

    def _ask(
        self, address: Address, method: str, request: Mapping[str, Any] | None, seconds: float, patient: bool = True
    ) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        lately = time.monotonic() - self._unreached_at < _LATELY_SECONDS
        waits = iter(_RETRY_WAITS if patient and not lately else ())
        while True:
            try:
                # Spelt anew for each try, so that none goes out without it.
                body = b"" if request is None else msgspec.json.encode(request)
                status, answer = self._wire.post(
                    address, method, body, max(0.0, deadline - time.monotonic()), method in _QUESTIONS
                )
                self._unreached_at = -_LATELY_SECONDS
                return parse_answer(method, status, answer)
            except CannotConnect:
                wait = next(waits, None)
                if wait is None or time.monotonic() + wait >= deadline:
                    self._unreached_at = time.monotonic() if patient else self._unreached_at
                    self._active = None
                    raise
                time.sleep(wait)
                address = self._where() or address
            except TooLate as error:
                self._fell_silent(address, f"{method}: {error}")
                raise

    def _where(self) -> Address | None:
        """As `locate`, for who tries again: what is nowhere now may be there in a moment."""
        try:
            return self._locate()
        except Unavailable:
            return None

    def _fell_silent(self, address: Address, why: str) -> None:
        with self._lock:
            self._active = None
            if self._silent is None and not self._closed.is_set():
                self._silent = (address, why)
                log.warning("volume plugin %s does not answer: %s", self.name, why)
                threading.Thread(target=self._probe, name=f"probe {self.name}", daemon=True).start()

    def _probe(self) -> None:
        """The one who asks a silent plugin, until it answers or somebody else is in its place."""
        pauses = iter(_PROBE_PAUSES)
        pause = 0.0
        while True:
            pause = next(pauses, pause)
            if self._closed.wait(pause):
                return
            if self._is_back():
                break
        with self._lock:
            self._silent = None
        log.info("volume plugin %s answers again", self.name)

    def _is_back(self) -> bool:
        silent = self._silent
        try:
            address = self._locate()
            if silent is None or address is None or address != silent[0]:
                return True  # whoever is there now is asked by whoever wants something
            self._wire.post(address, "Plugin.Activate", b"", self.deadlines.activation, only_asks=True)
        except (CannotConnect, OrlopError):
            return True  # away, not silent: that costs nobody time
        except NoAnswer:
            return False
        return True
