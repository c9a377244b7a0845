"""The operator page: the service seen and run in a browser.

Everything is rendered here, with Jinja2; htmx fetches parts again, uPlot draws the charts, one
hand-written style sheet does the rest. Every read and every act is a call of this product's own
API, made in this process with the rights of whoever has the session (``calls.py``): what the page
may do, its key may do.

=================  ==================================================================================
``site.py``        the ASGI application in front of the API: who gets which page, and every header
``sessions.py``    one-time links, sessions, the portal's links: signed, and ended for good
``gate.py``        what a request must show before it may change anything; patience with guesses
``calls.py``       the product's API, called in this process
``page.py``        what a view is given, and what it gives back
``actions.py``     what buttons do: documented calls, with their question and their ``curl``
``rendering.py``   templates, and how times, numbers and payloads are shown
``assets.py``      files under names that change with their contents
=================  ==================================================================================

How to add a view
-----------------

1. ``views/<name>.py`` with handlers and one ``VIEW``; enter it in ``views/__init__.py``::

    async def index(page: Page) -> Answer:
        found = await page.api.get("/api/things", limit=50, cursor=page.query.get("cursor"))
        return page.render("views/things.html", things=found)

    async def one(page: Page, thing_id: str) -> Answer:
        return page.render("views/thing.html", thing=await page.api.get(f"/api/things/{thing_id}"))

    VIEW = View("things", "Things", icon="bolt", pages={"": index, "{thing_id}": one}, actions=(
        Action("poke-thing", "Poke", "POST", "/api/things/{thing_id}/poke", done="Poked."),
    ))

   ``page.api`` speaks with the session's rights for the organization that is looked at;
   ``page.operator_api`` as the operator. A refusal becomes a page of its own: handlers do not catch it.
   A view with ``of_everyone=True`` also exists for all organizations together
   (``page.organization`` is ``None`` there); one with ``operators_only=True`` is hidden from
   organizations.

2. ``templates/views/<name>.html``::

    {% extends layout %}
    {% block title %}Things{% endblock %}
    {% block main %}
    {{ ui.heading("Things") }}
    ... {{ ui.time(thing.created_at) }} {{ ui.chip(thing.status) }}
    {{ act("poke-thing", thing_id=thing.id) }}
    {% endblock %}

   ``layout`` is the whole page, or only its middle when htmx asks: the same template serves the first
   view, the refresh, the drawer (a link with ``data-drawer``) and a browser without JavaScript. The
   middle refreshes itself every five seconds while the tab is looked at, or never
   (``page.render(..., refresh_s=None)``). A row of a list that ``j`` and ``k`` walk through has
   ``data-row``; its first link is what Enter opens.

3. Actions are listed in ``actions`` and shown with ``act(name, **parameters)``, a button whose dialog or
   form posts to ``…/do/<name>``. See :class:`~triggers_api.web.actions.Action`: its path is filled
   from the form, ``body`` makes the JSON, ``asks`` says in one sentence what will happen to how
   many rows, ``form`` is a template with fields, ``result`` one that shows the answer (a secret
   that is told once).

4. No ``style=`` and no ``on…=``: the policy forbids them. Widths come from ``<meter>``, ``<progress>``
   or SVG. Whatever came from outside is text.
"""
