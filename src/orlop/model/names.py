"""Names of containers: the grammar, and what the daemon picks when nobody says.

The random source is the caller's, so that this stays a pure rule.
"""

import re
from collections.abc import Callable, Sequence

from orlop.errors import Malformed

_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_ID = re.compile(r"[0-9a-f]{1,64}")

_MOODS = (
    "able amber ample bold brave bright brisk calm candid clear clever cosy crisp deft eager early easy fair fine firm "
    "fleet fond frank free fresh gentle glad golden grand hale handy happy hardy hearty jolly keen kind lively loyal "
    "lucid lucky merry mild modest neat nimble noble patient placid plain proud quick quiet ready robust sharp silent "
    "silver smart snug sober solid spry stable staunch steady sunny swift tidy trim true trusty upright vivid warm wise"
).split()
_SHIPS = (
    "argo barge beacon bireme bosun brig buoy canoe caravel carrack catboat clipper cog coracle corsair cutter "
    "dhow dinghy dory dromond ferry felucca fluyt frigate galleon galley gondola hooker jetty junk kayak keel "
    "ketch launch lighter longship lugger mainsail mast mizzen packet pilot pinnace pontoon porter prow punt quay "
    "rudder sampan schooner scow shallop skiff sloop smack spar steamer tender tiller topsail trawler trireme tug "
    "wherry windlass xebec yacht yawl"
).split()


def parse_container_name(name: str) -> str:
    """The name without its optional leading slash. Raises Malformed with Docker's text."""
    if not _NAME.fullmatch(name):
        raise Malformed("", f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", "")
    return name.removeprefix("/")


def is_id_prefix(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def pick_name(
    choose: Callable[[Sequence[str]], str], is_taken: Callable[[str], bool], number: Callable[[], int]
) -> str:
    """Two words, and a number once the words are often taken."""
    for attempt in range(100):
        name = f"{choose(_MOODS)}_{choose(_SHIPS)}"
        if attempt > 4:
            name += str(number())
        if not is_taken(name):
            return name
    raise AssertionError("a hundred random names were all taken")
