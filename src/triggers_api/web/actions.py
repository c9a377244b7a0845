"""What buttons do: each is a documented call of the API, with its question and its ``curl``."""

import re
import shlex
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from triggers_api.errors import ValidationFailed
from triggers_api.model.organization import Scope
from triggers_api.web.calls import Call
from triggers_api.web.request import Form

if TYPE_CHECKING:
    from triggers_api.web.page import Page

_FIELD: Final = re.compile(r"\{(\w+)(:path)?\}")


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody is asked before it is done.

    Attributes:
        text: what will happen, to how many rows, in one sentence.
        title: above it; by default what is on the action's button.
        button: on the button that does it; by default the same.
        rows: how many, where that is a number.
        context: for the template of the action's fields.
    """

    text: str
    title: str = ""
    button: str = ""
    rows: int | None = None
    context: dict[str, Any] = {}


Asks = Callable[["Page", Form], Awaitable[Question]]


class Action(msgspec.Struct, frozen=True):
    """A button.

    Attributes:
        name: of the address under which it is done.
        label: on the button.
        method, path: of the call. What stands in braces is taken from the form, and is one part of the
            path, unless it is ``{name:path}``.
        body: makes the call's JSON from the form; raises ``ValidationFailed`` for what cannot be.
            Without it the call has no body.
        query: fields of the form that become parameters of the call, where they are filled in.
        scope: what a key needs; without it the button is not shown. The API decides all the same.
        as_operator: the call is made with the operator's rights, not an organization's.
        in_portal: whether a portal has the button.
        danger: it cannot be undone: it asks first, also without JavaScript.
        asks: makes the question.
        form: a template with fields for the dialog.
        done: what is said when it is done.
        result: a template that shows the API's answer, as ``answer``.
        then: where to go on, from the API's answer: a path as :meth:`Page.href` takes it.
    """

    name: str
    label: str
    method: str
    path: str
    body: Callable[[Form], Any] | None = None
    query: tuple[str, ...] = ()
    scope: Scope = Scope.MANAGE
    as_operator: bool = False
    in_portal: bool = True
    danger: bool = False
    asks: Asks | None = None
    form: str | None = None
    done: str = "Done."
    result: str | None = None
    then: Callable[[Any], str | None] | None = None

    @property
    def is_direct(self) -> bool:
        """It is done at once, without a dialog."""
        return not (self.danger or self.asks or self.form or self.result)

    @property
    def route(self) -> str:
        """The path, as people read it."""
        return _FIELD.sub(r"{\1}", self.path)

    def call(self, form: Form) -> Call:
        """The call that it makes.

        Raises:
            ValidationFailed: the form lacks something, or holds what cannot be.
        """

        def filled(match: re.Match[str]) -> str:
            value = form.filled(match[1])
            if value is None or ("/" in value and match[2] is None):
                raise ValidationFailed.of(match[1], "missing-field", "is missing")
            return value

        path = _FIELD.sub(filled, self.path)
        query = tuple(
            (name, value) for name in self.query if (value := form.filled(name)) is not None
        )
        if self.body is None:
            return Call(self.method, path, query)
        return Call(self.method, path, query, msgspec.json.encode(self.body(form)))


def as_curl(call: Call, base: str, *, as_operator: bool = False) -> str:
    """A call as it is typed into a shell; the key stays a variable."""
    key = "$TRIGGERS_ADMIN_KEY" if as_operator else "$TRIGGERS_API_KEY"
    lines = ["curl" if call.method == "GET" else f"curl -X {call.method}"]
    if "/." in call.path:
        lines[0] += " --path-as-is"  # a type may be called a/../b
    lines[0] += f" {shlex.quote(base + call.target)}"
    lines.append(f'-H "Authorization: Bearer {key}"')
    if call.body is not None:
        lines.append("-H 'Content-Type: application/json'")
        lines.append(f"-d {shlex.quote(call.body.decode())}")
    return " \\\n  ".join(lines)
