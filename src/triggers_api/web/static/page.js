// What the page does by itself. Everything it shows comes rendered from the service; without this file
// links and forms work all the same.
(() => {
  "use strict";

  const root = document.documentElement;
  root.classList.add("scripted");
  const byId = (id) => document.getElementById(id);
  const main = byId("main");

  // ── the way in ───────────────────────────────────────────────────────────────────────────────

  const opening = document.querySelector("[data-open-form]");
  if (opening) {
    const word = location.hash.slice(1);
    if (word) {
      history.replaceState(null, "", location.pathname);
      opening.elements.token.value = word;
      opening.submit();
    } else {
      root.classList.remove("scripted");
    }
    return;
  }
  if (!main) return;

  // ── requests ─────────────────────────────────────────────────────────────────────────────────

  const csrf = document.querySelector("meta[name=csrf]").content;
  const stale = byId("stale");
  let under_way = 0;
  let bar = null;

  const loading = (change) => {
    under_way += change;
    clearTimeout(loading.timer);
    if (under_way > 0) {
      loading.timer = setTimeout(() => {
        bar ??= document.body.appendChild(Object.assign(document.createElement("div"), { className: "bar-loading" }));
      }, 150);
    } else if (bar) {
      bar.remove();
      bar = null;
    }
  };

  document.addEventListener("htmx:configRequest", (event) => {
    event.detail.headers["X-CSRF"] = csrf;
  });
  document.addEventListener("htmx:beforeRequest", () => loading(1));
  document.addEventListener("htmx:afterRequest", (event) => {
    loading(-1);
    if (!event.detail.xhr?.status) notice("The service does not answer.", "bad");
  });

  // Fetches a part of the page into its place, as htmx would; a newer one for the same place wins. One
  // that is unwanted by the time it is there is dropped.
  const loads = {};
  const load = async (href, target, { quietly = false, unwanted = () => false } = {}) => {
    loads[target]?.abort();
    const mine = loads[target] = new AbortController();
    const headers = { "HX-Request": "true", "HX-Target": target, "HX-Current-URL": location.href };
    if (quietly) headers["X-Refresh"] = "yes";
    else loading(1);
    try {
      const answer = await fetch(href, { headers, signal: mine.signal });
      const said = answer.headers;
      stale.hidden = answer.status < 500 || !quietly;
      if (said.has("HX-Redirect")) {
        location.assign(said.get("HX-Redirect"));
        return false;
      }
      if (said.get("HX-Reswap") === "none") return false;
      const text = await answer.text();
      if (unwanted()) return false;
      htmx.swap(said.get("HX-Retarget") ?? `#${target}`, text, { swapStyle: said.get("HX-Reswap") ?? "innerHTML", swapDelay: 0, settleDelay: 0 });
      return answer.ok;
    } catch (error) {
      if (error.name === "AbortError") return false;
      if (quietly) stale.hidden = false;
      else notice("The service does not answer.", "bad");
      return false;
    } finally {
      if (loads[target] === mine) delete loads[target];
      if (!quietly) loading(-1);
    }
  };

  const notice = (text, level) => {
    const line = Object.assign(document.createElement("div"), { className: `notice ${level}`, textContent: text });
    byId("notices").append(line);
    setTimeout(() => line.remove(), 5000);
  };

  new MutationObserver((changes) => {
    for (const change of changes) {
      for (const node of change.addedNodes) {
        if (node.nodeType === 1 && !node.dataset.timed) {
          node.dataset.timed = "yes";
          node.addEventListener("click", () => node.remove());
          setTimeout(() => node.remove(), node.matches(".bad") ? 15000 : 5000);
        }
      }
    }
  }).observe(byId("notices"), { childList: true });

  document.addEventListener("acted", (event) => {
    notice(event.detail.text, "good");
    close_dialog();
    refresh(true);
    const again = () => drawer.hidden || reload(drawer, drawer.dataset.href, () => drawer.hidden);
    again();
    setTimeout(again, 1000);  // what was asked for may take a moment
  });

  // ── refreshing ───────────────────────────────────────────────────────────────────────────────

  let paused = false;
  let refreshed_at = Date.now();
  let fetching = false;
  let once_more = false;

  const is_busy = () => {
    const active = document.activeElement;
    const typing = active && main.contains(active) && active.matches("input, select, textarea");
    return typing || is_selecting(main) || document.querySelector("dialog[open]") || main.querySelector("[data-busy], form.changed");
  };
  const is_selecting = (within) => {
    const selection = getSelection();
    return selection && !selection.isCollapsed && within.contains(selection.anchorNode);
  };

  const is_reading = () => drawer.hidden || is_selecting(drawer) || document.querySelector("dialog[open]");

  // What is open stays open, and where the reader was.
  const reload = async (within, href, unwanted) => {
    const known = [...within.querySelectorAll("details[id]")].map((each) => [each.id, each.open]);
    const active = within.contains(document.activeElement) && document.activeElement;
    const focused = active && (active.id || active.closest("[data-row]")?.dataset.row);
    const top = within.scrollTop;
    if (!(await load(href, within.id, { quietly: true, unwanted }))) return;
    for (const [id, open] of known) byId(id)?.toggleAttribute("open", open);
    within.scrollTop = top;
    if (focused) (byId(focused) ?? row_named(focused)?.querySelector("a"))?.focus({ preventScroll: true });
  };

  const refresh = async (now) => {
    const wanted = byId("refresh")?.dataset.refresh;
    if (!now && (paused || document.hidden)) return;
    if (fetching) {
      once_more ||= now;
      return;
    }
    fetching = true;
    refreshed_at = Date.now();
    try {
      // What is asked for at once comes whatever else goes on; the rest only if it is in nobody's way.
      const in_the_way = () => !now && (paused || is_busy());
      if (now || (wanted && !is_busy())) await reload(main, location.pathname + location.search, in_the_way);
      if (drawer.querySelector("[data-refresh]") && !is_reading()) await reload(drawer, drawer.dataset.href, is_reading);
    } finally {
      fetching = false;
    }
    if (once_more) {
      once_more = false;
      refresh(true);
    }
    mark_row();
    follow();
    document.dispatchEvent(new CustomEvent("page:refreshed"));
  };

  setInterval(() => {
    const every_s = Number(document.querySelector("[data-refresh]")?.dataset.refresh);
    if (every_s && Date.now() - refreshed_at >= every_s * 1000) refresh(false);
  }, 1000);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh(false);
    follow();
  });

  const set_paused = (value) => {
    paused = value;
    for (const button of document.querySelectorAll("[data-pause]")) button.setAttribute("aria-pressed", String(paused));
    follow();
    notice(paused ? "Paused: nothing moves by itself. Press p to go on." : "Going on.", "");
  };

  main.addEventListener("input", (event) => event.target.form?.classList.add("changed"));

  // ── events as they come in ───────────────────────────────────────────────────────────────────

  const ROWS_KEPT = 100;
  let tail = null;
  let tail_of = "";

  // One stream while somebody looks at a list that can move, and none otherwise.
  const follow = () => {
    const list = main.querySelector("[data-tail]");
    const source = list && !paused && !document.hidden ? list.dataset.tail : "";
    if (source === tail_of && tail?.readyState !== 2) return;
    tail?.close();
    tail = null;
    tail_of = source;
    if (!source) return;
    const newest = list.querySelector("[data-row]")?.dataset.row;
    tail = new EventSource(newest ? `${source}${source.includes("?") ? "&" : "?"}after=${newest}` : source);
    tail.addEventListener("message", add_row);
    tail.addEventListener("skipped", () => refresh(false));
  };

  const add_row = (event) => {
    const body = main.querySelector("[data-tail] tbody");
    if (!body) {
      refresh(false);
      return;
    }
    if (row_named(event.lastEventId) || is_busy()) return;
    const parsed = document.createElement("template");
    parsed.innerHTML = `<table><tbody>${event.data}</tbody></table>`;
    body.prepend(parsed.content.querySelector("tr"));
    while (body.rows.length > ROWS_KEPT) body.rows[body.rows.length - 1].remove();
  };

  addEventListener("pagehide", () => tail?.close());

  // ── times ────────────────────────────────────────────────────────────────────────────────────

  const in_words = (ahead) => {
    const size = Math.abs(ahead);
    const [unit, name] = size < 45 ? [1, "s"] : size < 2700 ? [60, "min"] : size < 79200 ? [3600, "h"] : [86400, "d"];
    const count = Math.round(size / unit);
    if (name === "s" && count < 2) return "now";
    return ahead > 0 ? `in ${count} ${name}` : `${count} ${name} ago`;
  };

  const skew = () => skew.value;
  skew.value = 0;

  setInterval(() => {
    if (document.hidden) return;
    for (const each of document.querySelectorAll("time[datetime]")) {
      const words = in_words((Date.parse(each.dateTime) - Date.now() - skew()) / 1000);
      if (each.textContent !== words) each.textContent = words;
    }
  }, 5000);

  document.addEventListener("mouseover", (event) => {
    const time = event.target.closest?.("time[datetime]");
    if (time && !time.dataset.exact) {
      time.dataset.exact = "yes";
      const local = new Date(time.dateTime);
      time.title = `${time.title}\n${local.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" })}`;
    }
  });

  // ── drawer and dialogs ───────────────────────────────────────────────────────────────────────

  const drawer = byId("drawer");
  const dialog = byId("dialog");
  let came_from = null;

  const open_drawer = async (href) => {
    if (drawer.hidden) came_from = document.activeElement;
    if (!(await load(href, "drawer"))) return;
    drawer.dataset.href = href;
    drawer.hidden = false;
    drawer.scrollTop = 0;
    drawer.focus({ preventScroll: true });
  };

  const close_drawer = () => {
    drawer.hidden = true;
    drawer.replaceChildren();
    delete drawer.dataset.href;
    came_from?.focus?.({ preventScroll: true });
  };

  const open_dialog = async (href) => {
    dialog.replaceChildren();
    if (!(await load(href, "dialog"))) return;
    if (!dialog.open) dialog.showModal();
    dialog.querySelector("input:not([type=hidden]), select, textarea, button")?.focus();
  };

  const close_dialog = () => dialog.open && dialog.close();

  document.addEventListener("click", (event) => {
    const target = event.target.closest?.("a, button, summary, tr[data-row], label, input, select, textarea");
    document.querySelectorAll(".switcher[open]").forEach((each) => each.contains(event.target) || each.removeAttribute("open"));
    if (!target || event.defaultPrevented) return;
    const plain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
    if (target.matches("[data-close]")) {
      event.preventDefault();
      if (dialog.contains(target)) close_dialog();
      else close_drawer();
    } else if (target.matches("a[data-dialog]") && plain) {
      event.preventDefault();
      open_dialog(target.href);
    } else if (target.matches("a[data-drawer]") && plain) {
      event.preventDefault();
      select_row(target.closest("[data-row]"));
      open_drawer(target.href);
    } else if (target.matches("tr[data-row]") && plain && getSelection().isCollapsed) {
      target.querySelector("a")?.click();
    } else if (target.matches("[data-copy]")) {
      copy(target);
    } else if (target.matches("[data-theme-switch]")) {
      switch_theme();
    } else if (target.matches("[data-help]")) {
      byId("help").showModal();
    } else if (target.matches("[data-pause]")) {
      set_paused(!paused);
    } else if (target.matches("[data-refresh-now]")) {
      refresh(true);
    }
  });

  // A form that only asks: its fields are the question's parameters.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("form[data-dialog]")) return;
    event.preventDefault();
    const asked = new URLSearchParams(new FormData(form, event.submitter));
    open_dialog(`${event.submitter?.formAction || form.action}?${asked}`);
  });

  const copy = async (button) => {
    const text = button.dataset.copy || button.parentElement.querySelector("pre, code").textContent;
    try {
      await navigator.clipboard.writeText(text);
      notice("Copied.", "good");
    } catch {
      const range = document.createRange();
      range.selectNodeContents(button.parentElement.querySelector("pre, code"));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      notice("Selected: copy it with the keyboard.", "");
    }
  };

  for (const each of document.querySelectorAll("dialog")) {
    each.addEventListener("click", (event) => event.target === each && each.close());
  }

  document.addEventListener("change", (event) => {
    const form = event.target.form;
    if (event.target.matches("[data-submit]")) form.requestSubmit();
    if (event.target.matches("[data-check-all]")) {
      for (const box of document.querySelectorAll(`input[name="${CSS.escape(event.target.dataset.checkAll)}"]`)) box.checked = event.target.checked;
    }
  });

  // ── colours ──────────────────────────────────────────────────────────────────────────────────

  const THEMES = ["auto", "light", "dark"];
  const name_theme = () => {
    const name = document.querySelector("[data-theme-name]");
    if (name) name.textContent = { auto: "As the system", light: "Light", dark: "Dark" }[root.dataset.theme];
  };
  const switch_theme = () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
    root.dataset.theme = next;
    document.cookie = `triggers-theme=${next}; path=/ui; max-age=31536000; samesite=strict`;
    name_theme();
    document.dispatchEvent(new CustomEvent("page:theme"));
  };
  name_theme();

  // ── rows and keys ────────────────────────────────────────────────────────────────────────────

  let here = null;
  const rows = () => [...main.querySelectorAll("[data-row]")].filter((each) => each.offsetParent);
  const row_named = (name) => rows().find((each) => each.dataset.row === name);
  const mark_row = () => {
    for (const each of main.querySelectorAll(".here")) each.classList.remove("here");
    if (here) row_named(here)?.classList.add("here");
  };
  const select_row = (row) => {
    here = row?.dataset.row ?? null;
    mark_row();
  };
  const step = (by) => {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((each) => each.dataset.row === here);
    const row = all[Math.max(0, Math.min(all.length - 1, at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by))];
    select_row(row);
    row.scrollIntoView({ block: "nearest" });
    const link = row.querySelector("a");
    if (drawer.hidden) link?.focus({ preventScroll: true });
    else if (link?.matches("[data-drawer]")) open_drawer(link.href);
  };

  let leader = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (!document.querySelector("dialog[open]") && !drawer.hidden) close_drawer();
      else if (document.activeElement?.matches("input, textarea")) document.activeElement.blur();
      return;
    }
    if (event.target.matches("input, select, textarea") || document.querySelector("dialog[open]")) return;
    if (Date.now() - leader < 1200 && /^[1-9]$/.test(event.key)) {
      leader = 0;
      document.querySelectorAll(".side nav a")[Number(event.key) - 1]?.click();
      return;
    }
    const act = {
      "/": () => main.querySelector("[data-search]")?.focus(),
      "?": () => byId("help").showModal(),
      j: () => step(1),
      k: () => step(-1),
      r: () => refresh(true),
      p: () => set_paused(!paused),
      g: () => { leader = Date.now(); },
    }[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });

  follow();
  for (const link of document.querySelectorAll(".side nav a[aria-current]")) link.scrollIntoView({ block: "nearest", inline: "center" });
})();
