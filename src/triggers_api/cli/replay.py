"""``triggers replay``."""

import json
import sys
import time
from typing import Any, Final

import click

from triggers_api.cli.api import Api, NoService, service_options

_STATUSES: Final = ("dead", "succeeded", "skipped", "cancelled", "missed")
_UNFINISHED: Final = {"pending", "running"}
_POLL_S: Final = 0.2
_SHOW_S: Final = 1.0
_INTERRUPTED: Final = 130


@click.command(name="replay")
@click.option("--subscription", metavar="ID", help="Only for this one.")
@click.option("--type", "pattern", help="Only events of this type; * is any run of characters.")
@click.option(
    "--status", type=click.Choice(_STATUSES),
    help="Deliveries that came to this; missed: events of which the subscription has none.",
)  # fmt: skip
@click.option("--since", metavar="TIME", help="Not before: RFC 3339, 2026-11-22T08:00:00Z.")
@click.option("--until", metavar="TIME", help="Before.")
@click.option("--all", "everything", is_flag=True, help="Needed where nothing else chooses.")
@click.option("--rate", type=float, help="Deliveries a second at the most.")
@click.option("--dry-run", is_flag=True, help="Count what matches, and do nothing.")
@click.option("--wait", is_flag=True, help="Stay until it is done, and say how far it is.")
@click.option(
    "--cancel-on-interrupt", is_flag=True,
    help="With --wait: Ctrl-C cancels the job. Otherwise it goes on without this command.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the job as the API shows it.")
@service_options
def command(
    subscription: str | None,
    pattern: str | None,
    status: str | None,
    since: str | None,
    until: str | None,
    everything: bool,  # noqa: FBT001 - click's, as all of these
    rate: float | None,
    dry_run: bool,  # noqa: FBT001
    wait: bool,  # noqa: FBT001
    cancel_on_interrupt: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    url: str,
    api_key: str,
) -> None:
    """Deliver again, as a job, what had come in or come about.

    With a status: the deliveries in it. Otherwise each event, to the subscription or to all that match
    it now. Each match gets one new delivery.
    """
    chosen = {
        "subscription_id": subscription,
        "type": pattern,
        "status": status,
        "since": since,
        "until": until,
    }
    body = {name: value for name, value in chosen.items() if value is not None}
    if bool(body) is everything:
        raise click.UsageError("say what is to be replayed, or --all without anything else")
    if cancel_on_interrupt and not wait:
        raise click.UsageError("--cancel-on-interrupt is for --wait")
    asked = {**body, "rate": rate, "dry_run": dry_run}
    api = Api(url, api_key)
    job = _answered(*api.call("POST", "/api/replays", json.dumps(asked).encode()))
    # Of very much a dry run is counted in the background.
    if wait or dry_run:
        try:
            job = _ended(api, job)
        except KeyboardInterrupt:
            job = _left(api, job["id"], cancel=cancel_on_interrupt)
            click.echo(_shown(job, as_json=as_json))
            sys.exit(_INTERRUPTED)
    click.echo(_shown(job, as_json=as_json))
    if job["status"] in {"failed", "cancelled"} or job["failed"]:
        sys.exit(1)


def _answered(status: int, answer: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    if status not in {200, 202}:
        click.echo(json.dumps(answer), err=True)
        sys.exit(1)
    job: dict[str, Any] = answer
    return job


def _ended(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    """The job at its end; says on the way how far it is."""
    shown_at, away = time.monotonic(), False
    while job["status"] in _UNFINISHED:
        time.sleep(_POLL_S)
        try:
            status, answer = api.ask("GET", f"/api/jobs/{job['id']}")
        except NoService as error:
            status, answer = 503, {"detail": str(error)}
        if status == 503:
            # The job is on file and goes on when the service does.
            if not away:
                click.echo(f"triggers: {answer['detail']}; asking again", err=True)
            away = True
            continue
        away = False
        job = _answered(status, answer)
        if job["status"] in _UNFINISHED and time.monotonic() - shown_at >= _SHOW_S:
            shown_at = time.monotonic()
            click.echo(f"  {_progress(job)}", err=True)
    return job


def _left(api: Api, job_id: str, *, cancel: bool) -> dict[str, Any]:
    path = f"/api/jobs/{job_id}"
    if cancel:
        status, answer = api.call("DELETE", path)
        if status != 409:  # it may just have ended by itself
            return _answered(status, answer)
    return _answered(*api.call("GET", path))


def _shown(job: dict[str, Any], *, as_json: bool) -> str:
    return json.dumps(job) if as_json else f"{job['id']}  {job['status']}  {_progress(job)}"


def _progress(job: dict[str, Any]) -> str:
    if job["dry_run"]:
        seconds = "" if job["eta_s"] is None else f", {job['eta_s']:g} s at this rate"
        return f"{job['total']} would be replayed{seconds}"
    dealt = job["done"] + job["failed"]
    words = f"{dealt} of {job['total']}" + ("" if job["counted"] else " or more")
    words += f", {job['deliveries']} new deliveries"
    words += "".join(f"; {count}: {reason}" for reason, count in job["failures"].items())
    if job["error"]:
        words += f"; {job['error']}"
    if job["status"] in _UNFINISHED and job["eta_s"]:
        words += f"; {job['eta_s']:g} s to go"
    return words
