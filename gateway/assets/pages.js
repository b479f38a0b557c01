// Keeps a page up to date while it is looked at. Everything works without it.
"use strict";
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const announce = (text) => { one("#announce").textContent = text; };

  // Light, dark, or as the system has it.
  const theme = one("[data-theme-choice]");
  theme?.addEventListener("change", () => {
    document.documentElement.dataset.theme = theme.value;
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `mb_theme=${theme.value}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
  });

  // "3 min ago" stays true.
  const ago = (seconds) => {
    if (seconds < 10) return "just now";
    if (seconds < 60) return `${Math.floor(seconds)} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
    return `${Math.floor(seconds / 86400)} d ago`;
  };
  const tell = () => all("time[data-ago]").forEach((time) => {
    time.textContent = ago(Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000));
  });
  setInterval(tell, 15000);

  // A menu closes when somebody goes elsewhere.
  const closeMenus = (except) => all("details.confirm[open]").forEach((menu) => {
    if (menu !== except) menu.open = false;
  });
  document.addEventListener("click", (event) => closeMenus(event.target.closest("details.confirm")));
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && one("details.confirm[open]");
    if (menu) { menu.open = false; one("summary", menu).focus(); }
  });

  // Puts a newer part of the page into the place of the old one, and keeps what somebody is doing in
  // it: what is open, what is typed, where the focus is.
  const likeness = (element) => {
    const copy = element.cloneNode(true);
    all("time[data-ago]", copy).forEach((time) => { time.textContent = ""; });
    all("details", copy).forEach((details) => { details.open = false; });
    return copy.innerHTML;
  };
  const keep = (old, fresh) => {
    all("details[id]", old).forEach((details) => {
      const next = fresh.querySelector(`#${CSS.escape(details.id)}`);
      if (next) next.open = details.open;
    });
    all("input[id], textarea[id], select[id]", old).forEach((field) => {
      const next = fresh.querySelector(`#${CSS.escape(field.id)}`);
      const typed = "defaultValue" in field && field.value !== field.defaultValue;
      if (next && (typed || field.tagName === "SELECT")) next.value = field.value;
    });
    const scrolled = all("[tabindex], .graph", old).map((e) => e.scrollLeft);
    const focused = old.contains(document.activeElement) ? document.activeElement : null;
    const same = focused && (focused.id
      ? `#${CSS.escape(focused.id)}`
      : focused.getAttribute("href") && `[href="${CSS.escape(focused.getAttribute("href"))}"]`);
    old.replaceWith(fresh);
    all("[tabindex], .graph", fresh).forEach((e, i) => { e.scrollLeft = scrolled[i] ?? 0; });
    if (same) fresh.querySelector(same)?.focus({ preventScroll: true });
  };
  const read = async () => {
    const response = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
    if (response.redirected && new URL(response.url).pathname === "/sign-in") {
      location.reload();
      return null;
    }
    return response.ok ? new DOMParser().parseFromString(await response.text(), "text/html") : null;
  };
  let reading = false;
  let again = false;
  const refresh = async () => {
    if (reading) { again = true; return; }
    reading = true;
    try {
      const page = await read();
      if (!page) return;
      const status = one("#head .badge")?.textContent;
      all("[data-live]").filter((e) => !e.parentElement.closest("[data-live]")).forEach((old) => {
        const fresh = page.getElementById(old.id);
        if (fresh && likeness(old) !== likeness(fresh)) keep(old, document.importNode(fresh, true));
      });
      const count = one(".top nav");
      const next = one(".top nav", page);
      if (count && next && count.innerHTML !== next.innerHTML) keep(count, document.importNode(next, true));
      const now = one("#head .badge")?.textContent;
      if (now && now !== status) announce(`The run is now: ${now}`);
      log.refresh(page);
    } catch (error) {
      console.warn("the page could not be read again", error);
    } finally {
      reading = false;
      if (again) { again = false; soon(); }
    }
  };
  let timer = 0;
  const soon = () => { clearTimeout(timer); timer = setTimeout(refresh, 250); };

  // The log of the chosen step.
  const LINES_MAX = 20000;
  const log = {
    source: null,
    atEnd: (box) => box.scrollHeight - box.scrollTop - box.clientHeight < 40,
    follow() {
      this.source?.close();
      this.source = null;
      const box = one(".log");
      const evidence = box && one(".ev", box);
      if (evidence && !location.hash) box.scrollTop = evidence.offsetTop - 80;
      if (!box?.dataset.follow) return;
      if (!location.hash && !evidence) box.scrollTop = box.scrollHeight;
      const source = new EventSource(`${box.dataset.follow}&after=${box.dataset.last}`);
      this.source = source;
      const take = (event) => {
        if (!event.data.startsWith("{")) return;
        const { html, last } = JSON.parse(event.data);
        if (!html || last <= Number(box.dataset.last)) return;
        const stay = !this.atEnd(box);
        const lines = one(".lines", box);
        lines.insertAdjacentHTML("beforeend", html);
        box.dataset.last = last;
        while (lines.childElementCount > LINES_MAX) lines.firstElementChild.remove();
        const none = one(".none", box);
        if (none) none.hidden = true;
        if (!stay) box.scrollTop = box.scrollHeight;
      };
      source.addEventListener("lines", take);
      source.addEventListener("next", () => { source.close(); this.stale = true; soon(); });
      source.addEventListener("end", (event) => { take(event); source.close(); soon(); });
    },
    stale: false,
    // Marks what is evidence by now, or goes on with the next execution or step.
    refresh(page) {
      const [old, fresh] = [one("#log"), one("#log", page)];
      if (!old || !fresh) return;
      const [box, next] = [one(".log", old), one(".log", fresh)];
      if (box.dataset.query !== next.dataset.query || this.stale) {
        this.stale = false;
        old.replaceWith(document.importNode(fresh, true));
        this.follow();
        return;
      }
      all(".ev", next).forEach((line) => {
        const here = document.getElementById(line.id);
        if (here && !here.classList.contains("ev")) here.replaceWith(document.importNode(line, true));
      });
      const [head, newer] = [one(".log-head", old), one(".log-head", fresh)];
      if (head.innerHTML !== newer.innerHTML) keep(head, document.importNode(newer, true));
    },
  };

  const run = one(".run");
  if (run && !run.hasAttribute("data-ended")) {
    const source = new EventSource(`/runs/${run.dataset.run}/changes?after=${run.dataset.seq}`);
    source.addEventListener("change", soon);
    source.addEventListener("end", () => { source.close(); soon(); });
  }
  log.follow();
  if (one("[data-poll]")) {
    setInterval(() => { if (!document.hidden) refresh(); }, 5000);
  }
  document.documentElement.dataset.script = "on";
})();
