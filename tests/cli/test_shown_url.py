"""Where a database is may be printed; the password with which it is reached never is."""

from __future__ import annotations

import re
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers_api.store.connect import shown_url

SHOWN: Final = {
    "sqlite:///./triggers.db": "sqlite:///./triggers.db",
    "sqlite:////var/lib/a@b?c.db": "sqlite:////var/lib/a@b?c.db",
    "postgresql://db/events": "postgresql://db/events",
    "postgresql://me@db:5432/events": "postgresql://me@db:5432/events",
    "postgresql://me:CANARY@db/events": "postgresql://me:***@db/events",
    "postgres://me:CANARY@db": "postgres://me:***@db",
    "postgresql://:CANARY@db/events": "postgresql://:***@db/events",
    "postgresql://me:@db/events": "postgresql://me:***@db/events",
    # Percent-encoded, or with what need not be.
    "postgresql://m%40e:CAN%2FARY%40@db/e": "postgresql://m%40e:***@db/e",
    "postgresql://me@azure:CANARY@db/events": "postgresql://me@azure:***@db/events",
    "postgresql://me:CAN:ARY@db/events": "postgresql://me:***@db/events",
    "postgresql://me:CAN@ARY@db/events": "postgresql://me:***@db/events",
    # Several hosts, addresses, sockets.
    "postgresql://me:CANARY@a:1,b:2/e": "postgresql://me:***@a:1,b:2/e",
    "postgresql://me:CANARY@[::1]:5432/e": "postgresql://me:***@[::1]:5432/e",
    "postgresql://[::1]:5432,db/e": "postgresql://[::1]:5432,db/e",
    "postgresql://me:CANARY@%2Frun%2Fpg/e": "postgresql://me:***@%2Frun%2Fpg/e",
    "postgresql:///e?host=/run/pg&password=CANARY": "postgresql:///e?host=/run/pg&password=***",
    # Parameters.
    "postgresql://db/e?user=me&password=CANARY&sslmode=require": (
        "postgresql://db/e?user=me&password=***&sslmode=require"
    ),
    "postgresql://db/e?PASSWORD=CANARY": "postgresql://db/e?***",
    "postgresql://db/e?password=a&CANARY=b": "postgresql://db/e?password=***&***",
    "postgresql://db/e?p%61ssword=CANARY": "postgresql://db/e?***",
    "postgresql://db/e?sslpassword=CANARY": "postgresql://db/e?***",
    "postgresql://db/e?CANARY": "postgresql://db/e?***",
    "postgresql://db/e?options=-c%20CANARY": "postgresql://db/e?***",
    # What was not encoded as it must be, and what is no URL at all.
    "postgresql://me:CAN/ARY@db/e": "postgresql://***",
    "postgresql://me:CAN?ARY@db/e": "postgresql://***",
    "postgresql://me:CAN#ARY@db/e": "***",
    "postgresql://me:12/CANARY@db/e": "postgresql://***",
    "postgresql://me:x@12?CANARY@db/e": "postgresql://***",
    "postgresql://me:CANARY/e": "postgresql://***",
    "postgresql://me:CAN ARY@db/e": "***",
    "postgresql://me:CAN\nARY@db/e": "***",
    "mysql://me:CANARY@db/e": "mysql://me:***@db/e",
    "postgresql:me:CANARY@db": "***",
    "host=db password=CANARY": "***",
    "CANARY": "***",
    "": "***",
}


@pytest.mark.parametrize(("url", "shown"), SHOWN.items(), ids=SHOWN)
def test_host_and_database_are_kept_and_the_password_is_not(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    assert not re.search("CAN|ARY", shown)


@given(st.text(st.sampled_from("ab1:@/?#&=%[], \n\0é"), max_size=20))
def test_whatever_the_password_is_made_of_nothing_of_it_is_shown(password: str) -> None:
    """Each of its characters stands between marks, which are nowhere else."""
    marked = "".join(f"QZ{each}ZQ" for each in password)
    for url in (f"postgresql://me:QZ{marked}@db/e", f"postgresql://db/e?password=QZ{marked}"):
        assert "Q" not in shown_url(url).replace("***", "")


def test_a_long_address_takes_no_longer_than_its_length() -> None:
    assert shown_url(f"postgresql://{'a' * 100_000}:x/e") == "postgresql://***"
