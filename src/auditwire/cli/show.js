// Filters, folds, and fetches the JSON of a large session's events out of the page's own data. No more.
"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const controls = document.querySelector(".controls");
  const turns = all(".turn");
  const rows = all(".row");
  const search = document.getElementById("search");
  const trouble = document.getElementById("trouble");
  const shown = document.getElementById("shown");
  const words = new WeakMap();
  const textOf = (element) => {
    if (!words.has(element)) words.set(element, element.textContent.toLowerCase());
    return words.get(element);
  };

  let data = null;
  const fill = (details) => {
    for (const pre of all("pre[data-json]", details)) {
      data ??= JSON.parse(document.getElementById("events").textContent);
      pre.textContent = data[Number(pre.dataset.json)];
      pre.removeAttribute("data-json");
    }
  };
  document.addEventListener("toggle", (event) => {
    if (event.target.open && event.target.matches(".row, .ends")) fill(event.target);
  }, true);

  const open = (target) => {
    for (let place = target; place; place = place.parentElement) {
      if (place.tagName === "DETAILS") place.open = true;
    }
  };
  const follow = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (target) {
      open(target);
      target.scrollIntoView({ block: "center" });
    }
  };
  window.addEventListener("hashchange", follow);
  follow();
  window.addEventListener("beforeprint", () => {
    for (const folded of [...turns, ...all(".verdict details")]) folded.open = true;
  });
  if (!controls) return;

  const filter = () => {
    const wanted = new Set(all("[data-show][aria-pressed=true]", controls).map((button) => button.dataset.show));
    const text = search.value.trim().toLowerCase();
    const only = trouble.getAttribute("aria-pressed") === "true";
    const narrowed = text || only || wanted.size < all("[data-show]", controls).length;
    let count = 0;
    for (const row of rows) {
      const fits = wanted.has(row.dataset.kind)
        && (!only || row.classList.contains("error") || row.classList.contains("warning"))
        && (!text || textOf(row.firstElementChild).includes(text));
      row.parentElement.hidden = !fits;
      count += fits;
    }
    for (const turn of turns.slice().reverse()) {
      const own = !only && text && textOf(turn.firstElementChild).includes(text);
      const any = turn.querySelector("li:not([hidden]) > .row") !== null;
      turn.parentElement.hidden = Boolean(narrowed) && !own && !any;
      if (narrowed && any) turn.open = true;
    }
    shown.textContent = narrowed ? `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} calls and events` : "";
  };
  let waiting = 0;
  search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
  for (const button of all("button[aria-pressed]", controls)) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      filter();
    });
  }
  const fold = (state) => turns.forEach((turn) => { turn.open = state; });
  document.getElementById("unfold").addEventListener("click", () => fold(true));
  document.getElementById("fold").addEventListener("click", () => fold(false));
  controls.hidden = false;
})();
