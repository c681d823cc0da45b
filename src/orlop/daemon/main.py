"""`orlop daemon`: open the roots, listen, bring everything in order, serve until SIGTERM.

Containers do not end with the daemon: their supervisors hold them, and the next daemon takes them over.
"""

import gc
import logging
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orlop.daemon.config import Settings, load_settings
from orlop.daemon.roots import open_data_root, open_exec_root
from orlop.docker.server import run as serve
from orlop.errors import Forbidden, OrlopError
from orlop.store.paths import DataRoot, ExecRoot

if TYPE_CHECKING:
    from orlop.daemon.assemble import Assembled
    from orlop.engine.engine import Engine

log = logging.getLogger(__name__)


def run(given: Mapping[str, Any], config_file: Path | None = None) -> int:
    """The exit status: 0 after SIGTERM, 1 when it could not start, with the reason on stderr."""
    try:
        settings = load_settings(given, config_file)
        configure_logging(settings.debug)
        if os.geteuid() != 0:
            raise Forbidden("orlop daemon", "it must run as root", "Start it with sudo")
        _serve(settings)
    except OrlopError as error:
        print(f"orlop daemon: {error.message}", file=sys.stderr)
        return 1
    return 0


def _serve(settings: Settings) -> None:
    gc.disable()  # until all is loaded: a tenth of a start went into it
    os.umask(0o022)
    lock = open_data_root(DataRoot(settings.data_root))
    open_exec_root(ExecRoot(settings.exec_root))
    assembled: list[Assembled] = []

    def load() -> "Engine":
        # Imported only now, in the thread that loads: clients that ask whether somebody is there need not wait for it.
        from orlop.daemon.probes import Probes

        probes = Probes(settings)
        from orlop.daemon.assemble import assemble

        made = assemble(settings, probes)
        assembled.append(made)
        made.recovery.run()
        made.reaper.start()
        made.watch.start()
        made.engine.volumes.join()
        # Until here nearly everything that was made is there to stay: nothing was worth looking through for garbage,
        # and never will be.
        gc.freeze()
        gc.enable()
        # Only now, and beside the API: a container that starts slowly must not keep anybody waiting.
        threading.Thread(target=made.recovery.go_on, name="recovery", daemon=True).start()
        return made.engine

    def listening() -> None:
        for host in settings.hosts:
            print(f"listening on {host}", file=sys.stderr, flush=True)

    try:
        serve(load, settings.hosts, listening, settings.group)
    finally:
        for made in assembled:
            made.close()
        os.close(lock)


def configure_logging(debug: bool) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
