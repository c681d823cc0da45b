"""usage: python webdav_server.py SETTINGS.json PORT

wsgidav under waitress: the servers that it brings along answer one client at a time, or give up on uploads."""

import json
import sys
from pathlib import Path

import waitress
from wsgidav.wsgidav_app import WsgiDAVApp

settings, port = json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])
waitress.serve(WsgiDAVApp(settings), host="127.0.0.1", port=port, threads=8)
