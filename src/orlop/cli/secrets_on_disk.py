"""`orlop secret ... --root DIR`: the secrets of `orlop plugin serve`, which has no API to ask."""

from collections.abc import Callable
from typing import Any, TypeVar

from orlop.cli.declaring import option
from orlop.client.errors import ClientError

T = TypeVar("T")

secrets_root_option = option("--root", metavar="DIR", default="", help="Those of orlop plugin serve on that root.")


def on_disk(root: str, call: Callable[[Any], T]) -> T:
    """`call` gets what the daemon's API would ask (engine.secrets). Raises ClientError."""
    from orlop.daemon.lent_secrets import secrets_of
    from orlop.errors import OrlopError

    try:
        return call(secrets_of(root))
    except OrlopError as error:
        raise ClientError(error.message) from error
    except OSError as error:
        raise ClientError(f"{root}: {error.strerror}") from error


def listed_on_disk(root: str) -> list[dict[str, Any]]:
    """As the API lists them."""
    from orlop.model.timestamp import render_timestamp

    found = on_disk(root, lambda secrets: secrets.list_secrets())
    return [
        {"Name": one.name, "CreatedAt": render_timestamp(one.created_at_ns), "UsedBy": list(one.used_by)}
        for one in found
    ]
