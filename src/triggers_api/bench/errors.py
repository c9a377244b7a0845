"""What ends a benchmark before its end."""

from triggers_api.errors import TriggersError


class RunFailed(TriggersError):
    """A measurement could not be made; the message says why, and what to do where that is known."""
