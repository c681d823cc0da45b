"""`orlop secret ls`."""

from orlop.cli.app import App
from orlop.cli.declaring import declare, option
from orlop.cli.output import format_option, print_lines, print_listing
from orlop.cli.secrets_on_disk import listed_on_disk, secrets_root_option


@declare(examples=[("orlop secret ls", ""), ("orlop secret ls -q", "only the names")])
@option("-q", "--quiet", is_flag=True, help="Only names.")
@secrets_root_option
@format_option
def command(app: App, quiet: bool, output_format: str, root: str) -> None:
    """List secrets, without their values."""
    secrets = listed_on_disk(root) if root else app.api.get("/orlop/v1/secrets")["Secrets"]
    if quiet:
        print_lines(secret["Name"] for secret in secrets)
        return
    from orlop.cli.human import now, parse_time, render_ago

    print_listing(
        output_format,
        secrets,
        ("NAME", "CREATED", "USED BY VOLUMES"),
        lambda it: (it["Name"], render_ago(parse_time(it["CreatedAt"]), now()), ", ".join(it["UsedBy"]) or "-"),
    )
