"""Secrets of a root that `orlop plugin serve` uses: kept there directly, for there is no daemon to ask.

A plugin that runs reads a secret when it mounts, so nothing has to be told to it.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from orlop.daemon.lend import lent_root
from orlop.engine.secrets import Secrets
from orlop.errors import Forbidden, HostFailure, NotFound
from orlop.model.volume import RetiredVolume, Volume
from orlop.store.paths import DataRoot
from orlop.store.secrets import SecretFiles

log = logging.getLogger(__name__)

_RECORDS = ("*/orlop.json", ".retired/*/orlop.json")


def secrets_of(root: str) -> Secrets:
    """Raises NotFound where that is no root of a plugin, Forbidden to who may not read it."""
    data_root = lent_root(root)
    subject = f"root {data_root.path}"
    try:
        if not data_root.lent.exists():
            raise NotFound(subject, "it is no root of orlop plugin serve", "Start that once, or leave out --root")
    except PermissionError as error:
        raise Forbidden(subject, "only root may look into it", "Use sudo") from error
    except OSError as error:
        raise HostFailure(subject, error.strerror or str(error)) from error
    return Secrets(SecretFiles(data_root.secrets), lambda: _volumes(data_root))


def _volumes(data_root: DataRoot) -> Sequence[Volume]:
    """As their records beside the data say, removed ones too: the journal may be in use."""
    folders = [data_root.volumes, *data_root.volumes_of("x").parent.glob("*")]
    found = []
    for path in (path for folder in folders for pattern in _RECORDS for path in folder.glob(pattern)):
        with suppress(OSError):
            found += _read(path)
    return found


def _read(path: Path) -> list[Volume]:
    try:
        record = msgspec.json.decode(path.read_bytes(), type=dict)
        if "volume" in record:
            return [msgspec.convert(record, RetiredVolume).volume]
        return [msgspec.convert(record, Volume)]
    except (msgspec.MsgspecError, ValueError) as error:
        log.warning("which secrets a volume needs is not known from %s: %s", path, error)
        return []
