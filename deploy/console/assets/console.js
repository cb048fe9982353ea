// Keeps open pages up to date, and closes what is not needed. Every page works without it.
(() => {
  "use strict";

  const live = () => document.getElementById("live");
  const state = document.getElementById("live-state");
  let stream = null;
  let isOld = false;

  // A change of the page must not disturb a form in use, or words that are being selected.
  const isInUse = () => {
    const active = document.activeElement;
    if (active && active !== document.body && active.matches("input, select, textarea")) return true;
    if (document.querySelector("#live input:checked")) return true;
    const selection = document.getSelection();
    return Boolean(selection && !selection.isCollapsed);
  };

  const show = (words) => {
    if (state && state.textContent !== words) state.textContent = words;
  };

  const refresh = () => {
    if (!live() || document.hidden) return;
    isOld = isInUse();
    if (isOld) show("Paused");
    else document.body.dispatchEvent(new Event("refresh"));
  };

  const open = () => {
    if (stream || document.hidden || !live() || !live().dataset.live) return;
    stream = new EventSource("/live");
    stream.addEventListener("changed", refresh);
    stream.addEventListener("open", () => show("Live"));
    stream.addEventListener("error", () => show("Not live"));
  };

  // The page is live only as long as it can be loaded again.
  document.addEventListener("htmx:afterSwap", () => show("Live"));
  for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(failure, () => show("Not live"));
  }

  const close = () => {
    if (stream) stream.close();
    stream = null;
    show("Paused");
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return close();
    open();
    refresh();
  });
  document.addEventListener("focusout", () => setTimeout(() => { if (isOld) refresh(); }, 200));
  window.addEventListener("pagehide", close);

  // What the reader has opened stays open when the page changes around it.
  if (window.Idiomorph) {
    window.Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) =>
      !(name === "open" && node.tagName === "DETAILS");
  }

  // A list that was narrowed by hand shows its rows at once.
  document.addEventListener("change", (event) => {
    const form = event.target.closest && event.target.closest("form[data-filters]");
    if (form && event.target.tagName === "SELECT") form.requestSubmit();
  });

  // "/" leads to the search, as in other tools.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isInUse()) return;
    const field = document.querySelector("main input[type=search]") || document.querySelector("input[type=search]");
    if (!field) return;
    event.preventDefault();
    field.focus();
    field.select();
  });

  open();
})();
