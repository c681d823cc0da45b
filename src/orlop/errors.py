"""Every error Orlop raises on purpose, one tree.

    OrlopError                 subject, why, hint
      Malformed       400      the request makes no sense, whatever the state of things
      Forbidden       403      it makes sense and is not allowed
      NotFound        404      the thing named does not exist
      Conflict        409      it clashes with what exists now; it might work later
      Unsupported     501      this host, driver or version cannot do it
      Unavailable     503      something needed does not answer now
      HostFailure     500      the kernel, the disk or a program of the host failed

A subclass exists where a caller must tell the case apart; everything else is an instance of one of the seven,
made from facts. The number is the HTTP status that `orlop.docker.faults` answers with. Anything that is not an
OrlopError and reaches the edge is a defect of ours, answered as 500 with an id that stands in the log.

An operation that finds things already as wished does not raise: it says so in its result ("already so", HTTP 304).
"""


class OrlopError(Exception):
    """What could not be done to which thing (`subject`), why (`why`), and what to do next (`hint`, may be empty).

    `message` is what a person reads. Where Docker's clients match on a text, `subject` and `why` spell that text:
    an empty `subject` leaves `why` alone as the sentence.
    """

    status = 500

    def __init__(self, subject: str, why: str, hint: str = "") -> None:
        super().__init__(subject, why, hint)
        self.subject = subject
        self.why = why
        self.hint = hint

    @property
    def message(self) -> str:
        text = f"{self.subject}: {self.why}" if self.subject else self.why
        return f"{text}. {self.hint}" if self.hint else text

    def __str__(self) -> str:
        return self.message


class Malformed(OrlopError):
    status = 400


class Forbidden(OrlopError):
    status = 403


class NotFound(OrlopError):
    status = 404


class Conflict(OrlopError):
    status = 409


class Unsupported(OrlopError):
    status = 501


class Unavailable(OrlopError):
    status = 503


class HostFailure(OrlopError):
    status = 500


class ActiveMounts(Conflict):
    """Something is mounted in a volume that is to go. Docker's status for that is 500."""

    status = 500


class WriterElsewhere(Unavailable):
    """Another host has write access to the volume. Told as a conflict; whoever can wait tries again."""

    status = 409


class NoSuchContainer(NotFound):
    def __init__(self, reference: str) -> None:
        super().__init__("No such container", reference)


class NoSuchImage(NotFound):
    def __init__(self, reference: str) -> None:
        super().__init__("No such image", reference)


class NoSuchVolume(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"get {name}", "no such volume")


class NoSuchPart(NotFound):
    """A part of a volume or an image that is to be mounted."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__("", f"cannot access path {path}: {why}", "It must be there before: a subpath is never made")


class NoSuchExec(NotFound):
    def __init__(self, exec_id: str) -> None:
        super().__init__("No such exec instance", exec_id)
