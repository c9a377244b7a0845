"""The ceiling of delivery: a loop that posts by aiohttp, and does nothing else."""

import asyncio
import sys
import time

import aiohttp
import uvloop


async def post(url: str, *, requests: int, concurrency: int, body: bytes) -> float:
    """Post so many times; returns how long it took, in seconds.

    Raises:
        RuntimeError: an answer was none of success.
    """
    left = iter(range(requests))

    async def one_after_the_other(session: aiohttp.ClientSession) -> None:
        for _ in left:
            async with session.post(url, data=body) as answer:
                await answer.read()
                if answer.status >= 300:
                    raise RuntimeError(f"the receiver answered {answer.status}")

    connector = aiohttp.TCPConnector(limit=concurrency)
    headers = {"content-type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        began = time.perf_counter()
        await asyncio.gather(*(one_after_the_other(session) for _ in range(concurrency)))
        return time.perf_counter() - began


def main() -> None:
    """A process of its own: URL, number of requests, how many at once, and the size of their bodies."""
    url, *numbers = sys.argv[1:]
    requests, concurrency, size = map(int, numbers)
    body = b'{"data":"%b"}' % (b"x" * (size - len('{"data":""}')))
    seconds = uvloop.run(post(url, requests=requests, concurrency=concurrency, body=body))
    sys.stdout.write(f"{seconds}\n")


if __name__ == "__main__":
    main()
