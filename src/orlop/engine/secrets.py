"""Secrets that options of volumes name: kept, listed without their values, put in place where storage is asked for."""

import logging
from collections.abc import Callable, Mapping, Sequence

from orlop.engine.redactor import Redactor
from orlop.errors import Conflict, HostFailure, Malformed, NotFound, OrlopError
from orlop.model.secret import MOST_BYTES, Secret, check_secret_name, names_of_secrets, resolve_secrets
from orlop.model.volume import Volume, secret_values
from orlop.store.secrets import SecretFiles

log = logging.getLogger(__name__)


class Secrets:
    """`volumes` gives all volumes, removed ones that can be restored among them. Every value that it gives away, or
    that stands in options which it is given, is noted with `redactor`."""

    def __init__(self, files: SecretFiles, volumes: Callable[[], Sequence[Volume]] = lambda: ()) -> None:
        self._files = files
        self.volumes = volumes
        self.redactor = Redactor()
        # Set by the composition root: who else has options, in words, and these.
        self.others: Callable[[], Sequence[tuple[str, Mapping[str, str]]]] = lambda: ()

    def note_all(self) -> None:
        """At start: what volumes were given before, somebody's plugin may still say again."""
        self.redactor.note(value for volume in self.volumes() for value in secret_values(volume.options or {}))
        for name in self._files.names():
            try:
                self._value_of(name)
            except OrlopError as error:
                log.warning("%s", error)  # whoever needs it is told why

    def create(self, name: str, value: bytes, replace: bool = False) -> Secret:
        """Raises Malformed for a bad name or value, Conflict where it is there and not to be replaced."""
        check_secret_name(name)
        subject = f"secret {name}"
        if not value:
            raise Malformed(subject, "its value is empty", f"For example: orlop secret create {name} FILE")
        if len(value) > MOST_BYTES:
            raise Malformed(subject, f"its value has {len(value)} bytes, at most {MOST_BYTES} are allowed")
        if self._files.exists(name) and not replace:
            hint = f"To give it another value: orlop secret create --force {name}"
            raise Conflict(subject, "a secret of that name exists", hint)
        self._files.put(name, value)
        return self._describe(name)

    def list_secrets(self) -> Sequence[Secret]:
        users = self._users()
        return [Secret(name, made, users.get(name, ())) for name, made in sorted(self._files.names().items())]

    def remove(self, name: str) -> None:
        """Raises NotFound, Conflict naming the volumes whose options name it, and who else needs it."""
        check_secret_name(name)
        if not self._files.exists(name):
            raise NotFound(f"secret {name}", "there is none of that name on this host", "List them: orlop secret ls")
        users = self._users().get(name, ())
        if users:
            why = f"volumes need it: {', '.join(users)}"
            raise Conflict(f"secret {name}", why, "Remove these volumes first, or give them other options")
        self._files.remove(name)

    def resolve(self, options: Mapping[str, str]) -> dict[str, str]:
        """Raises NotFound naming the secret that is missing."""
        self.redactor.note(secret_values(options))
        return resolve_secrets(options, self._value_of)

    def _value_of(self, name: str) -> str:
        check_secret_name(name)
        try:
            # The end of the line that an editor or echo put there is no part of a password.
            value = self._files.get(name).decode().removesuffix("\n")
        except UnicodeDecodeError as error:
            raise HostFailure(f"secret {name}", "its value is no text, and an option needs text") from error
        self.redactor.note([value])
        return value

    def _describe(self, name: str) -> Secret:
        return Secret(name, self._files.names().get(name, 0), self._users().get(name, ()))

    def _users(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, dict[str, None]] = {}
        for volume in self.volumes():
            for name in names_of_secrets(volume.options or {}):
                found.setdefault(name, {})[volume.name] = None  # removed ones may have had the same name
        for user, options in self.others():
            for name in names_of_secrets(options):
                found.setdefault(name, {})[user] = None
        return {name: tuple(users) for name, users in found.items()}
