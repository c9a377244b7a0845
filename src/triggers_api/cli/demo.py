"""``triggers serve --demo``: a receiver on this machine, and real events on their way to it."""

import asyncio
import contextlib
import dataclasses
import ipaddress
from itertools import cycle
from typing import Final, Self

import aiohttp
import click
from aiohttp import web

from triggers_api.app import App
from triggers_api.client import InvalidWebhook, verify
from triggers_api.deliver.signature import new_secret
from triggers_api.demo import payloads
from triggers_api.errors import Unavailable
from triggers_api.model import ids
from triggers_api.model.organization import ORGANIZATION_SCOPES, key_record, new_api_key
from triggers_api.model.subscription import (
    Subscription,
    SubscriptionRecord,
    SubscriptionStatus,
)
from triggers_api.settings import Settings

_NAME: Final = "triggers serve --demo"
"""Of the key and the subscription, by which those of a killed demo are found."""


def demo_settings(settings: Settings) -> Settings:
    """Deliveries may go to this machine, where the demo's receiver is; what it prints is the log."""
    loopback = ipaddress.ip_network("127.0.0.1/32")
    return dataclasses.replace(
        settings,
        allow_cidrs=(*settings.allow_cidrs, loopback),
        log_level="warning" if settings.log_level == "info" else settings.log_level,
    )


class Demo:
    """A receiver that checks signatures and says what arrives, and a sender of real payloads."""

    def __init__(self, app: App, url: str, *, rate: float) -> None:
        self._app = app
        self._url = url
        self._rate = rate
        self._secret = new_secret()
        self._task: asyncio.Task[None] | None = None
        known = app.first_keys.api_key if app.first_keys else app.settings.api_key
        self._needs_key = known is None
        self.api_key = known or new_api_key()
        """The service's own, or where nobody knows it any more one that ends with the demo."""

    async def __aenter__(self) -> Self:
        receiver = web.Application(client_max_size=16 << 20)
        receiver.router.add_post("/{rest:.*}", self._receive)
        self._runner = web.AppRunner(receiver, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        await self._subscribe(f"http://127.0.0.1:{port}/hook")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
        with contextlib.suppress(Unavailable):  # the next demo does it
            await self._clear()
        await self._runner.cleanup()

    def start(self) -> None:
        """Begin to send."""
        self._task = asyncio.create_task(self._send())

    async def _subscribe(self, url: str) -> None:
        app, store = self._app, self._app.store
        organization_id = app.directory.organizations()[-1].id
        self._organization_id = organization_id
        await self._clear()  # what a killed demo left behind
        now = store.now()
        if self._needs_key:
            await store.create_key(
                key_record(
                    store.ids.new(ids.KEY),
                    self.api_key,
                    organization_id=organization_id,
                    name=_NAME,
                    scopes=ORGANIZATION_SCOPES,
                    now=now,
                )
            )
        await store.save_subscription(
            SubscriptionRecord(
                organization_id=organization_id,
                subscription=Subscription(
                    id=store.ids.new(ids.SUBSCRIPTION),
                    url=url,
                    event_types=("*",),
                    description=_NAME,
                    status=SubscriptionStatus.ACTIVE,
                    created_at=now,
                    updated_at=now,
                ),
                secrets=(self._secret,),
            )
        )
        await app.directory.refresh()

    async def _clear(self) -> None:
        store, organization_id = self._app.store, self._organization_id
        for record in self._app.directory.subscriptions(organization_id):
            if record.subscription.description == _NAME:
                await store.delete_subscription(organization_id, record.subscription.id)
        for key in await store.keys(organization_id):
            if key.name == _NAME and key.revoked_at is None:
                await store.revoke_key(organization_id, key.id)
        await self._app.directory.refresh()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            verify(request.headers, body, self._secret)
        except InvalidWebhook as error:
            _say(f"✗ {request.headers.get('webhook-id')}: {error}")
            return web.Response(status=401)
        sent = request.headers
        _say(
            f"✓ delivered {sent['x-triggers-event-type']}  {sent['webhook-id']}  "
            f"attempt {sent['x-triggers-attempt']}  {len(body)} bytes  signature ok"
        )
        return web.Response(status=204)

    async def _send(self) -> None:
        headers = {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(headers=headers, trust_env=False) as session:
            for event_type, payload in cycle(payloads()):
                await asyncio.sleep(1 / self._rate)
                body = b'{"type":"%b","source":"demo","payload":%b}' % (
                    event_type.encode(),
                    payload,
                )
                try:
                    async with session.post(f"{self._url}/api/events", data=body) as answer:
                        if answer.status != 202 and not self._app.ingest.draining:
                            _say(f"✗ {answer.status} {await answer.text()}")
                except aiohttp.ClientConnectionError:
                    return  # the service is ending


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody watches any more; the service goes on
        click.echo(f"  {text}")
