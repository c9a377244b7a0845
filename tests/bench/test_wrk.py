"""What ``wrk`` is given, and what it says."""

import pytest

from triggers_api.bench.errors import RunFailed
from triggers_api.bench.statistics import Latency
from triggers_api.bench.wrk import (
    lua_string,
    parse_output,
    script_of,
    wrk_version,
)

OUTPUT = """\
Running 2s test @ http://127.0.0.1:18777/api/events
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.80ms    1.85ms  25.62ms   79.64%
    Req/Sec    13.37k     1.19k   14.97k    75.00%
  26602 requests in 2.00s, 9.01MB read
  Non-2xx or 3xx responses: 2
Requests/sec:  13289.77
Transfer/sec:      4.50MB
triggers-bench {"requests":26602,"duration_us":2001689,"connect":0,"read":1,"write":0,\
"timeout":3,"status":2,"min_us":2506.0,"mean_us":4801.9,"p50_us":4165.0,"p95_us":8123.0,\
"p99_us":9557.0,"max_us":25619.0}
"""


def test_the_numbers_come_from_the_scripts_own_line() -> None:
    result = parse_output(OUTPUT, cpu_s=0.4)
    assert result.requests == 26_602
    assert result.seconds == 2.001689
    assert result.refused == 2
    assert result.lost == 4
    assert result.latency == Latency(
        count=26_602, min=2.506, avg=4.802, p50=4.165, p95=8.123, p99=9.557, max=25.619
    )


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "unable to connect to 127.0.0.1:1 Connection refused\n",
        "triggers-bench {broken\n",
    ],
)
def test_a_run_without_numbers_is_a_failure_that_quotes_what_was_said(text: str) -> None:
    with pytest.raises(RunFailed, match=text.strip()[:20]):
        parse_output(text, cpu_s=0.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer\nUsage:",
            "debian/4.1.0-3+b2",
        ),
        ("wrk 4.2.0 [kqueue] Copyright (C) 2012 Will Glozer\n", "4.2.0"),
        ("something else", ""),
    ],
)
def test_the_version_is_read_from_what_it_prints(text: str, expected: str) -> None:
    assert wrk_version(text) == expected


def test_bytes_become_a_lua_string_of_printable_characters() -> None:
    assert lua_string(b'a"\\\r\n\x00\xff1') == r'"a\034\092\013\010\000\2551"'


def test_the_script_holds_every_request() -> None:
    script = script_of([b"GET /1\r\n", b"GET /2\r\n"])
    assert '"GET /1\\013\\010",\n"GET /2\\013\\010"' in script
