"""What happens when a button is pressed: the question, the call, what came of it."""

import json
from typing import TYPE_CHECKING

from triggers_api.errors import NotFound
from triggers_api.web.actions import Action, Question, as_curl
from triggers_api.web.answer import Answer, see_other
from triggers_api.web.request import Form

if TYPE_CHECKING:
    from triggers_api.web.page import Page

_CONTROL = {"csrf", "confirmed", "preview", "return_to", "in_dialog"}


async def do(page: "Page", name: str, form: Form) -> Answer:
    """Ask, show the call, or make it.

    With GET it asks. With POST it is done, unless it wants to be confirmed and is not, or only its
    ``curl`` is wanted.
    """
    action = page.action(name)
    if action is None or not page.can(action):
        raise NotFound("there is no such action, or it is not for this session")
    if page.request.method != "POST":
        return await _ask(page, action, form)
    if "preview" in form:
        text = page.site.rendering.render("parts/curl.html", curl=_curl(page, action, form))
        return Answer(body=text.encode())
    if action.danger and "confirmed" not in form:
        return await _ask(page, action, form)
    api = page.operator_api if action.as_operator else page.api
    reply = await api.call(action.call(form))
    found = reply.json if "json" in reply.headers.get("content-type", "") else None
    if action.result is not None:
        return page.render(
            "acted.html", refresh_s=None, action=action, answer=found, return_to=_back(page, form)
        )
    return _done(page, action, form, None if action.then is None else action.then(found))


def _done(page: "Page", action: Action, form: Form, target: str | None) -> Answer:
    if page.request.by_htmx:
        return _told(action, None if target is None else page.href(target))
    if target is not None:
        return see_other(page.href(target, done=action.name))
    back = _back(page, form)
    return see_other(f"{back}{'&' if '?' in back else '?'}done={action.name}")


async def _ask(page: "Page", action: Action, form: Form) -> Answer:
    question = Question(text="")
    if action.asks is not None:
        question = await action.asks(page, form)
    given = [(name, value) for name, value in form.pairs if name not in _CONTROL]
    return page.render(
        "ask.html",
        refresh_s=None,
        action=action,
        question=question,
        given=given,
        form=form,
        fields=action.form,
        return_to=_back(page, form),
    )


def _curl(page: "Page", action: Action, form: Form) -> str:
    base = page.site.base_url(page.request)
    return as_curl(action.call(form), base, as_operator=action.as_operator)


def _told(action: Action, target: str | None) -> Answer:
    if target is not None:
        return Answer(headers=(("hx-redirect", target),))
    told = json.dumps({"acted": {"name": action.name, "text": action.done}})  # in ASCII
    return Answer(headers=(("hx-trigger", told), ("hx-reswap", "none")))


def _back(page: "Page", form: Form) -> str:
    """The page of ours from which somebody came."""
    target = form.get("return_to") or page.href("")
    inside = target.startswith(page.base + "/") and target.isprintable() and "\\" not in target
    return target if inside else page.href("")
