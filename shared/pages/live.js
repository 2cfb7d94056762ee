"use strict";
// Follows its server: on every event the page is fetched again and only the parts that changed are replaced.
(function () {
  let busy = false, again = false;
  const keep = (old, fresh) => {
    const open = [...old.querySelectorAll("details")].map((item) => item.open);
    const left = [...old.querySelectorAll(".wide")].map((item) => item.scrollLeft);
    const inside = old.contains(document.activeElement);
    const at = inside ? [...old.querySelectorAll("a,summary,.wide")].indexOf(document.activeElement) : -1;
    old.replaceWith(fresh);
    fresh.querySelectorAll("details").forEach((item, n) => { if (n in open) item.open = open[n]; });
    fresh.querySelectorAll(".wide").forEach((item, n) => { if (n in left) item.scrollLeft = left[n]; });
    const focus = fresh.querySelectorAll("a,summary,.wide")[at];
    if (focus) focus.focus({ preventScroll: true });
  };
  const shape = (part) => {
    const copy = part.cloneNode(true);
    copy.querySelectorAll("details").forEach((item) => item.removeAttribute("open"));
    return copy.innerHTML;
  };
  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const known = new Set();
      let before = null;
      for (const fresh of page.querySelectorAll("[data-live]")) {
        known.add(fresh.id);
        const old = document.getElementById(fresh.id);
        if (!old && before) before.after(fresh);
        else if (!old) document.getElementById("main").prepend(fresh);
        else if (shape(old) !== shape(fresh)) keep(old, fresh);
        before = document.getElementById(fresh.id);
      }
      for (const old of document.querySelectorAll("[data-live]")) if (!known.has(old.id)) old.remove();
      document.title = page.title;
    } catch { state(false); }
    busy = false;
    if (again) { again = false; refresh(); }
  };
  const state = (connected) => {
    const note = document.getElementById("connection");
    if (note) note.textContent = connected ? "" : note.dataset.lost;
  };
  document.addEventListener("DOMContentLoaded", () => {
    const source = new EventSource("events" + location.search);
    source.onopen = () => { state(true); refresh(); };
    source.onmessage = () => { state(true); refresh(); };
    source.onerror = () => state(false);
  });
})();
