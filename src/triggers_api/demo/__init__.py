"""Real webhook payloads, shipped so that a demonstration, a test or a benchmark has real input.

They are the examples of GitHub's own webhooks that the npm package ``@octokit/webhooks-examples``
collects, under its MIT licence in ``LICENSE-octokit-webhooks-examples.txt`` beside the data.
"""

import gzip
from importlib import resources
from typing import Final

import msgspec

_FILE: Final = "github-webhooks.ndjson.gz"


class _Line(msgspec.Struct, frozen=True):
    type: str
    payload: msgspec.Raw


def payloads() -> list[tuple[str, bytes]]:
    """Every example as event type and JSON document, in the order of the file.

    A type is ``github.``, the webhook's name and, where there is one, its action, such as
    ``github.issues.opened``. A document is the file's own bytes, never encoded again.
    """
    packed = (resources.files(__name__) / _FILE).read_bytes()
    lines = gzip.decompress(packed).splitlines()
    decoder = msgspec.json.Decoder(_Line)
    return [(line.type, bytes(line.payload)) for line in map(decoder.decode, lines)]
