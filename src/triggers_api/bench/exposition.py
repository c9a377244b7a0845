"""Reading the server's ``/metrics``."""

import math
import re
from collections.abc import Mapping

_BUCKET_BOUND = re.compile(r'[{,]le="([^"]+)"')


def histogram(text: str, name: str) -> dict[float, float]:
    """The buckets of a histogram without other labels: upper bound → observations up to it."""
    found = {}
    for line in text.splitlines():
        if line.startswith(f"{name}_bucket{{"):
            sample, _, value = line.rpartition(" ")
            bound = _BUCKET_BOUND.search(sample)
            if bound:
                found[math.inf if bound[1] == "+Inf" else float(bound[1])] = float(value)
    return found


def since(before: Mapping[float, float], after: Mapping[float, float]) -> dict[float, float]:
    """What a histogram counted between two readings."""
    return {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
