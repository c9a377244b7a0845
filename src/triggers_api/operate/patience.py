"""How long a background part waits for a store that may be silent for good."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from triggers_api.errors import StoreUnavailable


@asynccontextmanager
async def patience(seconds: float) -> AsyncIterator[None]:
    """Give up what is awaited inside after so many seconds.

    A connection into a black hole neither answers nor fails; somebody has to stop waiting.

    Raises:
        StoreUnavailable: time was up.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise StoreUnavailable(f"the store has not answered for {seconds:g} s") from None
