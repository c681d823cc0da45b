"""`orlop volume export`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option
from orlop.cli.packing import COMPRESSIONS, choose_compression, open_packer
from orlop.client.api import quote


@declare(
    examples=[
        ("orlop volume export -o data.tar.zst data", "packed as the name says: .zst, .gz"),
        ("orlop volume export data | ssh there orlop volume import", "to another machine, labels and all"),
        ("orlop volume export data | tar -t", "any tar program reads it"),
    ],
)
@option("-o", "--output", default="", metavar="FILE", help="Write to this file [default: standard output].")
@option("--compress", choices=COMPRESSIONS, metavar="KIND",
        help="none, gzip or zstd [default: as FILE's name says].")  # fmt: skip
@option("-q", "--quiet", is_flag=True, help="No progress.")
@argument("volume", metavar="VOLUME")
def command(app: App, volume: str, output: str, compress: str | None, quiet: bool) -> None:
    """Write a volume as a tar archive: its data with owners, times, extended attributes, links and holes, and its name,
    labels and options. Options with a secret in them are left out.

    The volume may be in use: each file is packed as it is found at its moment. Sockets, and what is mounted below the
    volume, are not in the archive. `orlop volume import` makes a volume of it again.
    """
    from orlop.cli.transfer import open_output, receive_archive

    with open_output(output) as file, open_packer(choose_compression(compress or "", output), file) as target:
        response = app.api.stream("GET", f"/orlop/v1/volumes/{quote(volume)}/export")
        receive_archive(response, target, "receiving", quiet)
