"""Dead letters, by subscription and by what they died of; and the jobs that replay or delete them."""

import asyncio
from typing import Any, Final

import msgspec

from triggers_api.errors import ValidationFailed
from triggers_api.model.outcome import ERRORS
from triggers_api.web.actions import Action, Question
from triggers_api.web.answer import Answer
from triggers_api.web.calls import Call
from triggers_api.web.page import Page, View
from triggers_api.web.request import Form
from triggers_api.web.views.subscriptions import moment

_GROUPS: Final = 50
_ON_A_PAGE: Final = 50
_JOBS: Final = 6
_JOBS_LOOKED_AT: Final = 40
"""Questions are counted by jobs, too, which nobody wants to see."""
_UNFINISHED: Final = frozenset({"pending", "running"})


async def index(page: Page) -> Answer:
    """Groups, with the jobs of late."""
    groups, jobs = await asyncio.gather(
        page.api.get("/api/dead-letters/groups", limit=_GROUPS, cursor=page.query.get("cursor")),
        page.api.get("/api/jobs", limit=_JOBS_LOOKED_AT),
    )
    jobs = [each for each in jobs["data"] if not each["dry_run"] or each["status"] in _UNFINISHED][
        :_JOBS
    ]
    by_subscription: dict[str, list[dict[str, Any]]] = {}
    for group in groups["data"]:
        by_subscription.setdefault(group["subscription_id"], []).append(group)
    return page.render(
        "views/dead-letters.html",
        by_subscription=by_subscription,
        next_cursor=groups["next_cursor"],
        jobs=jobs,
        errors=ERRORS,
        refresh_s=1 if any(each["status"] in _UNFINISHED for each in jobs) else 5,
    )


async def of_subscription(page: Page, subscription_id: str) -> Answer:
    """All of a subscription's."""
    return await _list(page, subscription_id, None)


async def of_group(page: Page, subscription_id: str, error_class: str) -> Answer:
    """Those of a subscription that died of the same."""
    return await _list(page, subscription_id, error_class)


async def _list(page: Page, subscription_id: str, error_class: str | None) -> Answer:
    cursor = page.query.get("cursor")
    wanted = {"subscription_id": subscription_id, "error_class": error_class}
    found = await page.api.get("/api/dead-letters", limit=_ON_A_PAGE, cursor=cursor, **wanted)
    if not found["data"]:
        await page.api.get(f"/api/subscriptions/{subscription_id}")  # or there is no such page
    return page.render(
        "views/dead-letters-of.html",
        found=found,
        wanted=wanted,
        subscription_id=subscription_id,
        error_class=error_class,
        refresh_s=None,
    )


async def job(page: Page, job_id: str) -> Answer:
    """How far a job has come."""
    found = await page.api.get(f"/api/jobs/{job_id}")
    return page.render(
        "views/job.html", job=found, refresh_s=1 if found["status"] in _UNFINISHED else None
    )


def _chosen(form: Form) -> dict[str, Any]:
    """Which dead letters: those with a tick, or all of a group, or all there are."""
    wanted: dict[str, Any] = {
        name: value
        for name in ("subscription_id", "error_class")
        if (value := form.filled(name)) is not None
    }
    for name in ("since", "until"):
        if (at := moment(form, name)) is not None:
            wanted[name] = at
    if "selected" in form:
        ids = form.all("ids")
        if not ids:
            raise ValidationFailed.of("/ids", "missing-field", "nothing is ticked")
        return {"ids": ids}
    return wanted


def _replay(form: Form) -> dict[str, Any]:
    chosen = _chosen(form)
    if (rate := form.filled("rate")) is None:
        return chosen
    try:
        return chosen | {"rate": float(rate)}
    except ValueError:
        raise ValidationFailed.of("/rate", "invalid-type", "is not a number") from None


def _purge(form: Form) -> dict[str, Any]:
    return _chosen(form) or {"all": True}


async def _count(page: Page, chosen: dict[str, Any]) -> tuple[int, str]:
    """How many it is about, and the same in words."""
    if "ids" in chosen:
        return len(chosen["ids"]), f"{len(chosen['ids']):,} chosen dead letters"
    body = msgspec.json.encode(chosen | {"dry_run": True})
    counted = (await page.api.call(Call("POST", "/api/dead-letters/replay", body=body))).json
    total: int = counted["total"]
    words = f"{total:,} dead letters" if counted["counted"] else f"more than {total:,} dead letters"
    if "subscription_id" in chosen:
        words += f" of {page.subscription_name(chosen['subscription_id'])}"
    if "error_class" in chosen:
        words += f" that died of {chosen['error_class']}"
    return total, words


async def _ask_replay(page: Page, form: Form) -> Question:
    rows, words = await _count(page, _chosen(form))
    return Question(
        text=f"{words} are delivered once more: a new delivery for each, as a job that can be stopped. "
        "They stay on file until they are deleted.",
        title="Replay dead letters",
        rows=rows,
    )


async def _ask_purge(page: Page, form: Form) -> Question:
    rows, words = await _count(page, _chosen(form))
    return Question(
        text=f"{words} are deleted with their attempts, as a job that can be stopped. The events stay. "
        "This cannot be undone.",
        title="Delete dead letters",
        rows=rows,
    )


async def _ask_cancel(page: Page, form: Form) -> Question:
    found = await page.api.get(f"/api/jobs/{form.get('job_id', '')}")
    left = max(0, found["total"] - found["done"] - found["failed"])
    return Question(
        text=f"It stops where it is. What it has done stays done; {left:,} are left.",
        title="Stop the job",
    )


VIEW = View(
    "dead-letters",
    "Dead letters",
    icon="dead",
    pages={
        "": index,
        "jobs/{job_id}": job,
        "of/{subscription_id}": of_subscription,
        "of/{subscription_id}/{error_class}": of_group,
    },
    actions=(
        Action(
            "replay-dead-letters",
            "Replay",
            "POST",
            "/api/dead-letters/replay",
            body=_replay,
            asks=_ask_replay,
            form="views/dead-letters-form.html",
            done="The replay has begun.",
            then=lambda made: f"dead-letters/jobs/{made['id']}",
        ),
        Action(
            "purge-dead-letters",
            "Delete",
            "POST",
            "/api/dead-letters/purge",
            body=_purge,
            asks=_ask_purge,
            danger=True,
            done="The dead letters are being deleted.",
            then=lambda made: f"dead-letters/jobs/{made['id']}",
        ),
        Action(
            "cancel-job",
            "Stop",
            "DELETE",
            "/api/jobs/{job_id}",
            asks=_ask_cancel,
            danger=True,
            done="The job is stopped.",
        ),
    ),
)
