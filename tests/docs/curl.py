"""Stands in for curl while the commands of the documentation run.

It knows the options that the pages use and refuses any other, so that nobody needs curl to run the
tests; and it notes each answer in the file that ``CURL_NOTES`` names, for the tests to judge.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
    parser.add_argument("url")
    parser.add_argument("-i", "--include", action="store_true")
    parser.add_argument("-s", "--silent", action="store_true")
    parser.add_argument("-X", "--request")
    parser.add_argument("-H", "--header", action="append", default=[])
    parser.add_argument("-d", "--data")
    given = parser.parse_args()
    request = urllib.request.Request(
        given.url,
        data=None if given.data is None else given.data.encode(),
        headers=dict(header.split(": ", 1) for header in given.header),
        method=given.request,
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            status, reason, headers, body = (
                answer.status,
                answer.reason,
                answer.headers,
                answer.read(),
            )
    except urllib.error.HTTPError as refusal:
        status, reason, headers, body = (
            refusal.code,
            refusal.reason,
            refusal.headers,
            refusal.read(),
        )
    if given.include:
        sys.stdout.write(f"HTTP/1.1 {status} {reason}\n{headers}")
    sys.stdout.write(body.decode())
    with Path(os.environ["CURL_NOTES"]).open("a") as notes:
        notes.write(json.dumps({"status": status, "body": body.decode()}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
