"""Errors to statuses, in one place.

What Orlop raises on purpose carries its status and its sentence. An OSError names the file; anything else is a
defect of ours: the client gets an id, the log gets the id and the traceback.
"""

import logging
import secrets

from orlop.docker.messages import Response, error_response
from orlop.errors import OrlopError

log = logging.getLogger(__name__)

_NO_SPACE = 28


def fault_response(error: BaseException, what: str) -> Response:
    """The answer for an error; `what` is the request, for the log."""
    return error_response(*describe_fault(error, what))


def describe_fault(error: BaseException, what: str) -> tuple[int, str]:
    """Status and sentence."""
    if isinstance(error, OrlopError):
        if error.status == 500:
            log.warning("%s: %s", what, error.message)
        return error.status, error.message
    fault_id = secrets.token_hex(4)
    log.error("fault %s in %s", fault_id, what, exc_info=error)
    if isinstance(error, OSError):
        return 500, _describe(error, fault_id)
    return 500, f"internal error {fault_id}: the daemon's log has the details under this id"


def _describe(error: OSError, fault_id: str) -> str:
    where = f" ({error.filename})" if error.filename else ""
    hint = ". Free some space on that disk and try again" if error.errno == _NO_SPACE else ""
    return f"{error.strerror or error}{where}{hint}. The daemon's log has more under id {fault_id}"
