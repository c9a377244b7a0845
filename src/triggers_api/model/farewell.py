"""Telling a no-code tool that its hook has ended, which it did not ask for. Pure.

REST hooks call it the reverse unsubscribe: a DELETE to the URL that events were sent to.
"""

from typing import Final

import msgspec

from triggers_api.model.outcome import Answered, NoAnswer
from triggers_api.model.timestamp import Timestamp

DELAYS_S: Final = (60.0, 600.0, 3600.0, 21_600.0, 86_400.0)
"""Seconds before each further attempt; then the tool is not told."""
GRACE_S: Final = 86_400.0
"""Seconds that a tool has to ask again for a hook that expired: it was told when that would be."""

_LATER: Final = frozenset({408, 425, 429})


class Verdict(msgspec.Struct, frozen=True):
    """What follows from an attempt: another one at a moment, or the end.

    ``understood``: the other side acts on it, so that the hook needs no looking after any more.
    """

    retry_at: Timestamp | None
    understood: bool = False


def after(outcome: Answered | NoAnswer, attempts: int, *, now: Timestamp) -> Verdict:
    """What follows from an attempt, the ``attempts``-th.

    A refusal such as 404 or 405 comes from a tool that knows nothing of this, and is the end of it.
    """
    code = outcome.status_code if isinstance(outcome, Answered) else None
    if code is not None and (200 <= code < 300 or code == 410):
        return Verdict(None, understood=True)
    is_final = isinstance(outcome, NoAnswer) and outcome.permanent
    if is_final or (code is not None and code < 500 and code not in _LATER):
        return Verdict(None)
    if attempts > len(DELAYS_S):
        return Verdict(None)
    return Verdict(now.after(seconds=DELAYS_S[attempts - 1]))
