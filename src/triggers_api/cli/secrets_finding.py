"""What ``triggers doctor`` says about the secrets of subscriptions."""

from triggers_api.cli.finding import Finding
from triggers_api.settings import Settings
from triggers_api.store.base import Sealed

_ABOUT = "secrets"


def examine(found: Sealed, settings: Settings, *, kept: Finding, remedy: str) -> Finding:
    """How they are kept.

    Args:
        found: how many in which way.
        settings: say whether a key is given.
        kept: which key is used without one, and what is to be said of that.
        remedy: what encrypts what is not.
    """
    if found.lost:
        return Finding(
            "fail",
            _ABOUT,
            f"{found.lost} encrypted under a key that is not here: give it as TRIGGERS_SECRET_KEY or "
            "among TRIGGERS_OLD_SECRET_KEYS",
        )
    if found.old or found.clear:
        return Finding(
            "warn",
            _ABOUT,
            f"{found.clear} in the clear, {found.old} encrypted under an old key: {remedy}",
        )
    if not found.present:
        return Finding("ok", _ABOUT, "there are none yet")
    if settings.secret_key is None:
        text = f"{found.present} encrypted under {kept.text}; see TRIGGERS_SECRET_KEY"
        return Finding(kept.level, _ABOUT, text)
    return Finding("ok", _ABOUT, f"{found.present} encrypted under TRIGGERS_SECRET_KEY")
