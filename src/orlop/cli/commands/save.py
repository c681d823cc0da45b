"""`orlop save`."""

from orlop.cli.app import App
from orlop.cli.declaring import argument, declare, option


@declare(
    examples=[("orlop save -o both.tar busybox debian:12", ""), ("orlop save busybox | zstd > busybox.tar.zst", "")],
)
@option("-o", "--output", default="", metavar="FILE", help="Write to this file [default: standard output].")
@option("-q", "--quiet", is_flag=True, help="No progress.")
@option("--platform", default="", metavar="OS/ARCH", hidden=True)
@argument("images", many=True, required=True, metavar="IMAGE...")
def command(app: App, images: tuple[str, ...], output: str, quiet: bool, platform: str) -> None:
    """Write images to an archive that `load` reads, and other tools too. The file appears only when it is whole."""
    from orlop.cli.transfer import open_output, receive_archive

    with open_output(output) as target:
        response = app.api.stream("GET", "/images/get", {"names": images})
        receive_archive(response, target, "receiving", quiet)
