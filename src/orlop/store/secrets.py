"""Secrets on disk: encrypted, each in a file of its own.

    <data-root>/orlop/secrets/key      0600, this host's key: 32 random bytes, made with the first secret
    <data-root>/orlop/secrets/<name>.secret   0600, nonce and AES-256-GCM of the value, bound to the name

Whoever is root here can read the key as well. What the encryption is for: a backup, a stray copy or a discarded disk
that has the files and not the key gives nothing away, and a file that was exchanged for another is noticed.
"""

import os
import secrets
import threading
from pathlib import Path

from orlop.errors import HostFailure, NotFound
from orlop.store.files import sync_directory, write_durably

KEY = "key"
_SUFFIX = ".secret"
_KEY_BYTES, _NONCE_BYTES = 32, 12


class SecretFiles:
    """Thread-safe. Names are checked by the caller (orlop.model.secret)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()

    def put(self, name: str, value: bytes) -> None:
        """Durable when it returns."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # only those who have secrets wait for it

        with self._lock:
            nonce = secrets.token_bytes(_NONCE_BYTES)
            sealed = AESGCM(self._key(make=True)).encrypt(nonce, value, name.encode())
            write_durably(self._path(name), nonce + sealed)

    def get(self, name: str) -> bytes:
        """Raises NotFound, HostFailure where it cannot be decrypted."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            sealed = self._path(name).read_bytes()
        except FileNotFoundError:
            hint = f"Create it: orlop secret create {name}"
            raise NotFound(f"secret {name}", "there is none of that name on this host", hint) from None
        try:
            opened = AESGCM(self._key()).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError) as error:
            why = "its file does not fit this host's key"
            raise HostFailure(f"secret {name}", why, f"Create it again: orlop secret create --force {name}") from error
        return bytes(opened)

    def names(self) -> dict[str, int]:
        """With the time of their making, in ns."""
        try:
            with os.scandir(self._directory) as entries:
                found = [entry for entry in entries if entry.name.endswith(_SUFFIX)]
                return {entry.name.removesuffix(_SUFFIX): entry.stat().st_mtime_ns for entry in found}
        except FileNotFoundError:
            return {}

    def exists(self, name: str) -> bool:
        return self._path(name).exists()

    def remove(self, name: str) -> None:
        """Gone already is success."""
        with self._lock:
            self._path(name).unlink(missing_ok=True)
            if self._directory.exists():
                sync_directory(self._directory)

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{_SUFFIX}"

    def _key(self, make: bool = False) -> bytes:
        path = self._directory / KEY
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            if not make or self.names():
                why = f"this host's key {path} is missing"
                raise HostFailure("secrets", why, "Restore that file, or create the secrets again without it") from None
            self._directory.mkdir(mode=0o700, exist_ok=True)
            key = secrets.token_bytes(_KEY_BYTES)
            write_durably(path, key)
        if len(key) != _KEY_BYTES:
            raise HostFailure("secrets", f"this host's key {path} is damaged", "Restore that file")
        return key
