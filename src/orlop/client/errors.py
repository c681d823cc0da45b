"""What can go wrong between the command and the daemon, and the exit status that follows.

ClientError                1    anything: the message is all that a person needs
  Unreachable              1    nobody answers at the address
  ApiError                 1    the daemon answered with an error; `status` is HTTP's
"""


class ClientError(Exception):
    """A failure with a message for a person. `exit_code` is what the process ends with."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class Unreachable(ClientError):
    """Nobody answers at the address, or the connection broke off."""


class ApiError(ClientError):
    """The daemon refused; `message` is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
