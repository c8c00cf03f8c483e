// Keeps the page of an operation up to date while it, or one of its tasks, goes on. Without it, the page reloads.
"use strict";
{
  const stateOf = (page) => page.querySelector("[data-state]").dataset.state;
  const running = stateOf(document) === "running";

  window.taskdaemon.every(running ? 1 : 5, async () => {
    if (!running && !document.querySelector("[data-going]")) return;
    const answer = await window.taskdaemon.ask(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (stateOf(page) !== stateOf(document)) return location.reload();
    for (const old of document.querySelectorAll("[data-fresh]")) {
      const fresh = page.querySelector(`[data-fresh="${old.dataset.fresh}"]`);
      if (!old.contains(document.activeElement)) old.replaceChildren(...fresh.childNodes);
    }
  });
}
