"""Signatures, with the Standard Webhooks library as the second opinion."""

import base64
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from triggers_api.client import InvalidWebhook, verify
from triggers_api.deliver.signature import new_secret, public_key, secret_bytes, sign
from triggers_api.errors import MalformedValue
from triggers_api.model.subscription import SignatureScheme

OLD, NEW = "whsec_" + "b2xk" * 8, "whsec_" + "bmV3" * 8
BODY = '{"naïve": 123456789012345678901234567890, "naïve": "\\u0000"}'.encode()
NOW = 1_763_842_681

# The example of the specification's own text and of every library made from it.
KNOWN_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KNOWN_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

# The specification's example of v1a is made with this key.
KNOWN_KEY = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
)
KNOWN_PUBLIC_KEY = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
KNOWN_V1A = (
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)


def headers(signature: str, *, at: int = NOW, message_id: str = "evt_1") -> dict[str, str]:
    return {
        "Webhook-Id": message_id,
        "webhook-timestamp": str(at),
        "WEBHOOK-SIGNATURE": signature,
    }


def signed(*secrets: str, at: int = NOW, body: bytes = BODY) -> dict[str, str]:
    signature = sign(secrets, message_id="evt_1", timestamp=at, body=body)
    return headers(signature, at=at)


def test_the_published_example_comes_out_as_published() -> None:
    signature = sign(
        [KNOWN_SECRET],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert signature == KNOWN_SIGNATURE


@given(
    key=st.binary(min_size=24, max_size=64),
    message_id=st.text(st.characters(codec="ascii", exclude_characters="."), min_size=1),
    timestamp=st.integers(0, 4_000_000_000),
    text=st.text(),
)
def test_every_signature_is_the_one_the_library_makes(
    key: bytes, message_id: str, timestamp: int, text: str
) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    theirs = Webhook(secret).sign(message_id, datetime.fromtimestamp(timestamp, UTC), text)
    ours = sign([secret], message_id=message_id, timestamp=timestamp, body=text.encode())
    assert ours == theirs


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_while_secrets_rotate_a_receiver_with_either_one_is_content(secret: str) -> None:
    now = int(datetime.now(UTC).timestamp())
    sent = signed(OLD, NEW, at=now, body=b"{}")
    Webhook(secret).verify(b"{}", sent)
    verify(sent, b"{}", secret, now=now)


def test_each_secret_has_its_signature_in_order() -> None:
    assert signed(OLD, NEW)["WEBHOOK-SIGNATURE"] == " ".join(
        [signed(OLD)["WEBHOOK-SIGNATURE"], signed(NEW)["WEBHOOK-SIGNATURE"]]
    )


def test_a_new_secret_is_fresh_and_holds_256_bits() -> None:
    one, other = new_secret(), new_secret()
    assert one != other
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", one)
    assert len(secret_bytes(one)) == 32
    assert Webhook(one)._whsecret == secret_bytes(one)


@pytest.mark.parametrize("size", [24, 25, 32, 63, 64])
def test_a_secret_may_hold_24_to_64_bytes(size: int) -> None:
    key = bytes(range(size))
    assert secret_bytes("whsec_" + base64.b64encode(key).decode()) == key


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec",
        "b2xk" * 8,
        "WHSEC_" + "b2xk" * 8,
        "whpk_" + "b2xk" * 8,
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_" + base64.b64encode(bytes(32)).decode().rstrip("="),
        "whsec_" + base64.b64encode(bytes(32)).decode() + "=",
        "whsec_" + base64.b64encode(bytes(32)).decode() + "\n",
        "whsec_" + "-_-_" * 8,
        "whsec_" + "b2xk" * 4 + " " + "b2xk" * 4,
        "whsec_" + "b2xk" * 7 + "b2x\u00e9",
        "whsec_" + "b2xk" * 7 + "b2x\ud800",
    ],
)
def test_anything_else_is_not_a_secret(secret: str) -> None:
    with pytest.raises(MalformedValue, match="not a signing secret"):
        secret_bytes(secret)


def test_the_reason_a_secret_is_refused_does_not_repeat_it() -> None:
    with pytest.raises(MalformedValue) as refused:
        secret_bytes("whsec_c2VjcmV0")
    assert "c2VjcmV0" not in str(refused.value)


@pytest.mark.parametrize("away", [-300, -1, 0, 1, 300])
def test_a_webhook_of_the_last_or_next_five_minutes_is_accepted(away: int) -> None:
    verify(signed(OLD), BODY, OLD, now=NOW + away)


@pytest.mark.parametrize("away", [-301, 301, -86_400, 86_400])
def test_one_that_is_older_or_newer_is_not(away: int) -> None:
    with pytest.raises(InvalidWebhook, match="more than 300 s away"):
        verify(signed(OLD), BODY, OLD, now=NOW + away)


def test_the_tolerance_can_be_chosen() -> None:
    verify(signed(OLD), BODY, OLD, now=NOW + 900, tolerance_s=900)
    with pytest.raises(InvalidWebhook, match="more than 10 s away"):
        verify(signed(OLD), BODY, OLD, now=NOW + 11, tolerance_s=10)


def test_the_right_signature_may_stand_anywhere_among_others() -> None:
    right = signed(OLD)["WEBHOOK-SIGNATURE"]
    wrong = signed(NEW)["WEBHOOK-SIGNATURE"]
    for given_signature in (
        f"{wrong} {right}",
        f"{right} {wrong}",
        f"v1a,{right[3:]} v2,x  {right}",
        f"nonsense , ,, {right}",
    ):
        verify(headers(given_signature), BODY, OLD, now=NOW)


@pytest.mark.parametrize(
    "signature",
    [
        signed(NEW)["WEBHOOK-SIGNATURE"],
        signed(OLD, body=BODY + b" ")["WEBHOOK-SIGNATURE"],
        signed(OLD, at=NOW + 1)["WEBHOOK-SIGNATURE"],
        signed(OLD)["WEBHOOK-SIGNATURE"].replace("v1,", "v1a,"),
        signed(OLD)["WEBHOOK-SIGNATURE"].replace("v1,", ""),
        signed(OLD)["WEBHOOK-SIGNATURE"].replace("v1,", "V1,"),
        signed(OLD)["WEBHOOK-SIGNATURE"][:-1],
        signed(OLD)["WEBHOOK-SIGNATURE"].lower(),
        "v1,",
        "v1",
        "",
        ",",
        "v1,\u00e9\ud800",
    ],
)
def test_any_other_signature_is_refused(signature: str) -> None:
    with pytest.raises(InvalidWebhook, match="not signed with this secret"):
        verify(headers(signature), BODY, OLD, now=NOW)


def test_another_id_or_another_body_is_refused() -> None:
    signature = signed(OLD)["WEBHOOK-SIGNATURE"]
    with pytest.raises(InvalidWebhook, match="not signed with"):
        verify(headers(signature, message_id="evt_2"), BODY, OLD, now=NOW)
    with pytest.raises(InvalidWebhook, match="not signed with"):
        verify(headers(signature, message_id="\ud800"), BODY, OLD, now=NOW)
    with pytest.raises(InvalidWebhook, match="not signed with"):
        verify(headers(signature), BODY[:-1], OLD, now=NOW)


@pytest.mark.parametrize("name", ["Webhook-Id", "webhook-timestamp", "WEBHOOK-SIGNATURE"])
def test_a_missing_header_is_named(name: str) -> None:
    sent = signed(OLD)
    del sent[name]
    with pytest.raises(InvalidWebhook, match=f"header {name.lower()} is missing"):
        verify(sent, BODY, OLD, now=NOW)


@pytest.mark.parametrize(
    "timestamp", ["", "now", "-1", "+1763842681", "1763842681.0", "1e9", "١٧٦٣٨٤٢٦٨١", "9" * 5000]
)
def test_a_timestamp_that_is_not_a_whole_number_of_seconds_is_refused(timestamp: str) -> None:
    sent = signed(OLD) | {"webhook-timestamp": timestamp}
    with pytest.raises(InvalidWebhook, match="not a number of seconds"):
        verify(sent, BODY, OLD, now=NOW)


# ── with a key pair ───────────────────────────────────────────────────────────────────────────────


def test_the_published_example_of_a_key_pair_comes_out_as_published() -> None:
    assert public_key(SignatureScheme.V1A, KNOWN_KEY) == KNOWN_PUBLIC_KEY
    signature = sign(
        [KNOWN_KEY],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert signature == KNOWN_V1A


def test_the_public_half_verifies_what_the_private_one_signed() -> None:
    private = new_secret(SignatureScheme.V1A)
    public = public_key(SignatureScheme.V1A, private)
    assert public is not None
    sent = signed(OLD, private, NEW)
    verify(sent, BODY, public, now=NOW)
    for secret in (OLD, NEW):
        verify(sent, BODY, secret, now=NOW)
    # The library of the symmetric scheme passes over what it does not know.
    now = int(datetime.now(UTC).timestamp())
    Webhook(OLD).verify(b"{}", signed(private, OLD, at=now, body=b"{}"))


def test_a_key_may_be_given_without_its_public_half() -> None:
    pair = base64.b64decode(KNOWN_KEY.removeprefix("whsk_"))
    alone = "whsk_" + base64.b64encode(pair[:32]).decode()
    assert public_key(SignatureScheme.V1A, alone) == KNOWN_PUBLIC_KEY
    assert signed(alone) == signed(KNOWN_KEY)


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(
            signed(new_secret(SignatureScheme.V1A))["WEBHOOK-SIGNATURE"], id="of another pair"
        ),
        signed(KNOWN_KEY, body=BODY + b" ")["WEBHOOK-SIGNATURE"],
        signed(KNOWN_KEY, at=NOW + 1)["WEBHOOK-SIGNATURE"],
        signed(KNOWN_KEY)["WEBHOOK-SIGNATURE"].replace("v1a,", "v1,"),
        signed(KNOWN_KEY)["WEBHOOK-SIGNATURE"].replace("v1a,", ""),
        signed(KNOWN_KEY)["WEBHOOK-SIGNATURE"][:-4],
        signed(OLD)["WEBHOOK-SIGNATURE"],
        "v1a,",
        "v1a,?",
        "v1a,\u00e9\ud800",
        "",
    ],
)
def test_any_other_signature_does_not_verify_with_the_public_key(signature: str) -> None:
    with pytest.raises(InvalidWebhook, match="not signed with the private half"):
        verify(headers(signature), BODY, KNOWN_PUBLIC_KEY, now=NOW)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        OLD,
        KNOWN_PUBLIC_KEY,
        "whsk_",
        "whsk_" + base64.b64encode(bytes(31)).decode(),
        "whsk_" + base64.b64encode(bytes(33)).decode(),
        "whsk_" + base64.b64encode(bytes(64)).decode(),
        "whsk_" + base64.b64encode(bytes(32)).decode().rstrip("="),
        "whsk_" + "?" * 44,
        "whsk_" + "\u00e9" * 44,
    ],
)
def test_anything_else_is_not_a_key(secret: str) -> None:
    with pytest.raises(MalformedValue, match="not a signing key") as refused:
        public_key(SignatureScheme.V1A, secret)
    assert secret == "" or secret.removeprefix("whsk_") == "" or secret not in str(refused.value)


def test_a_key_pair_is_not_a_secret_that_both_sides_know() -> None:
    with pytest.raises(MalformedValue, match="not a signing secret"):
        public_key(SignatureScheme.V1, KNOWN_KEY)
    assert public_key(SignatureScheme.V1, OLD) is None
