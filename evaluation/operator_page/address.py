"""The page's address, which stays the same when a session goes on: a tablet's open page then finds it again."""

from __future__ import annotations

import json
from pathlib import Path

from evaluation.operator_page.operator_state import OperatorError, OperatorState
from evaluation.operator_page.server import PageServer
from robots.host.writing import whole_file

ADDRESS = "page.json"
"""In the session's folder: port and token, readable by its owner alone."""


def open_page(operator: OperatorState, folder: Path, host: str, port: int) -> PageServer:
    """Return the server of the page of the session in `folder`, with its last token and port, if any.

    A `port` other than 0 is taken as it is; 0 takes the last one, or a free one where that is taken.

    Raises:
        OperatorError: if it cannot be listened on, or the folder's address is damaged.
    """
    path = folder / ADDRESS
    last_port, token = _read(path)
    try:
        server = PageServer(operator, host, port or last_port, token)
    except OperatorError:
        if port or not last_port:
            raise
        server = PageServer(operator, host, 0, token)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(path, mode=0o600) as file:
        file.write(json.dumps({"port": server.port, "token": server.token}).encode())
    return server


def _read(path: Path) -> tuple[int, str | None]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        port, token = about["port"], about["token"]
        if not (isinstance(port, int) and 0 < port < 65536 and isinstance(token, str) and len(token) >= 16):
            raise ValueError("no port and token")
    except FileNotFoundError:
        return 0, None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OperatorError(f"'{path}' is damaged: {error}; remove it, and the page gets a new address") from error
    return port, token
