"""`orlop secret create`."""

import base64
import sys
from pathlib import Path

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.output import print_line
from orlop.cli.secrets_on_disk import on_disk, secrets_root_option


@declare(
    examples=[
        ("orlop secret create s3key key.txt", ""),
        ("pass show nas | orlop secret create nas -", "from another program"),
        ("sudo orlop secret create --root /var/lib/orlop-plugins/cloud s3key key.txt", "for orlop plugin serve"),
        ("docker volume create -d cloud -o secret-key=secret://s3key ... photos", "a volume that names it"),
    ],
)
@option("-f", "--force", is_flag=True, help="Give a secret that exists another value.")
@secrets_root_option
@argument("name", metavar="NAME")
@argument("file", default="-", metavar="[FILE|-]")
def command(app: App, name: str, file: str, force: bool, root: str) -> None:
    """Keep a value that options of volumes can name as secret://NAME, and print the name.

    The value is read from a file or from standard input. It is kept on this host, encrypted, and never shown again.
    """
    value = _typed(name) if file == "-" and sys.stdin.isatty() else _read(file)
    if root:
        print_line(on_disk(root, lambda secrets: secrets.create(name, value, force)).name)
        return
    body = {"Name": name, "Data": base64.b64encode(value).decode(), "Replace": force}
    print_line(app.api.post("/orlop/v1/secrets/create", body=body)["Name"])


def _read(file: str) -> bytes:
    from orlop.client.errors import ClientError

    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ClientError(f"{file}: {error.strerror}") from error


def _typed(name: str) -> bytes:
    import getpass

    return getpass.getpass(f"value of {name}: ").encode()
