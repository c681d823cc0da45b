"""`orlop recover`: the one command that works on the disk, because there is no daemon to ask."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orlop.cli.app import App
from orlop.cli.declaring import declare, option
from orlop.cli.output import format_option, print_json, print_line, warn
from orlop.cli.table import render_table
from orlop.client.errors import ClientError

if TYPE_CHECKING:
    from orlop.daemon.recover import RecoveryReport

_SOURCES = {"record": "orlop.json", "options": "opts.json", "nothing": "its folder"}


@declare(
    examples=[
        ("sudo orlop recover --dry-run", "what would come back, and what would not"),
        ("sudo orlop recover --data-root /srv/orlop", "do it"),
    ],
    statuses=[
        ("0", "done, or the journal is sound and there is nothing to do"),
        ("1", "it could not be done; nothing was deleted: the reason is on stderr"),
        ("125", "an option is not understood"),
    ],
)
@option("--data-root", metavar="DIR", help="The daemon's data root [/var/lib/docker].")
@option("--config", "--config-file", "config_file", metavar="FILE", help="Settings as JSON [/etc/orlop/daemon.json].")
@option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")
@format_option
def command(app: App, /, data_root: str | None, config_file: str | None, dry_run: bool, output_format: str) -> int:
    """Make a new journal, where the daemon's own is lost or damaged, from what lies beside each volume's data.

    For a stopped daemon. Volumes come back with name, labels, options and age, removed ones too as long as they could
    be restored. Containers and images stood in the journal alone: their folders and the old journal are set aside,
    never deleted. A sound journal is left alone.

    With --format json: one JSON document.
    """
    from orlop.daemon.recover import recover
    from orlop.errors import OrlopError

    given = {"data_root": Path(data_root)} if data_root else {}
    try:
        report = recover(given, Path(config_file) if config_file else None, dry_run)
    except OrlopError as error:
        raise ClientError(error.message) from error
    if output_format == "json":
        print_json(_document(report))
    else:
        _print_report(report, dry_run)
    return 0


def _print_report(report: "RecoveryReport", dry_run: bool) -> None:
    state = report.journal
    if state.state == "sound":
        kept = ", ".join(
            f"{state.counts.get(kind, 0)} {kind}" for kind in ("volumes", "retired", "containers", "images")
        )
        print_line(f"The journal is sound ({kept}): nothing to recover.")
        return
    print_line(f"The journal is {state.state}: {state.why}.")
    document = _document(report)
    rows = [(it["Name"], it["From"], _pairs(it["Labels"]), _pairs(it["Options"])) for it in document["Volumes"]]
    if rows:
        sys.stdout.write(render_table(("VOLUME NAME", "KNOWN FROM", "LABELS", "OPTIONS"), rows))
    retired = [(it["Name"], it["ID"][:12], it["PurgeAt"], _pairs(it["Labels"])) for it in document["Retired"]]
    if retired:
        sys.stdout.write(render_table(("REMOVED VOLUME", "ID", "DATA KEPT UNTIL", "LABELS"), retired))
    for it in (*document["Volumes"], *document["Retired"]):
        for remark in it["Remarks"]:
            warn(f"volume {it['Name']}: {remark}")
    for it in document["Running"]:
        uses = f", uses {', '.join(it['Volumes'])}" if it["Volumes"] else ""
        what = f"pid {it['Pid']}: {it['Command']}{uses}"
        warn(f"container {it['Name']} still runs ({what}): stop it first: kill {it['Pid']}")
    for text in report.lost:
        warn(f"not brought back: {text}")
    if dry_run:
        print_line(f"{len(rows)} volumes and {len(retired)} removed ones would be brought back. Nothing was changed.")
        return
    print_line(f"{len(rows)} volumes and {len(retired)} removed ones are in the new journal. Start the daemon now.")
    if report.set_aside:
        print_line(f"What could not be used is in {report.set_aside}: delete it when nobody misses anything.")


def _document(report: "RecoveryReport") -> dict[str, Any]:
    from orlop.cli.human import render_time_ns
    from orlop.model.volume import hide_secrets

    def volume(it: Any) -> dict[str, Any]:
        return {
            "Name": it.name,
            "ID": it.id,
            "Driver": it.driver,
            "CreatedAt": render_time_ns(it.created_at_ns),
            "Labels": None if it.labels is None else dict(it.labels),
            "Options": None if it.options is None else hide_secrets(it.options),
            "Anonymous": it.is_anonymous,
            "Protected": it.is_protected,
            "Aliases": list(it.aliases),
        }

    return {
        "Journal": {"State": report.journal.state, "Why": report.journal.why, "Records": dict(report.journal.counts)},
        "Volumes": [
            {**volume(it.volume), "From": _SOURCES[it.source], "Remarks": list(it.remarks)}
            for it in report.volumes.volumes
        ],
        "Retired": [
            {
                **volume(it.retired.volume),
                "ID": it.retired.id,
                "RetiredAt": render_time_ns(it.retired.retired_at_ns),
                "PurgeAt": render_time_ns(it.retired.purge_at_ns),
                "Reason": it.retired.reason,
                "Remarks": list(it.remarks),
            }
            for it in report.volumes.retired
        ],
        "Running": [
            {
                "ID": it.id,
                "Name": it.name,
                "Pid": it.pid or it.supervisor_pid,
                "Command": it.command,
                "Volumes": list(it.volumes),
            }
            for it in report.running
        ],
        "Lost": list(report.lost),
        "SetAside": report.set_aside,
        "Done": report.done,
    }


def _pairs(values: dict[str, str] | None) -> str:
    return ",".join(f"{key}={value}" if value else key for key, value in sorted((values or {}).items()))
