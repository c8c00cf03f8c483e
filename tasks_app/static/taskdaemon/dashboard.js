"use strict";
// The dashboard: small pictures of the last hour, and its numbers anew every 10 seconds while it is visible.
{
  const SECONDS = 10;
  const { every, said, onTheme, chart } = window.taskdaemon;
  const small = document.getElementById("td-small"), updated = document.getElementById("td-updated");
  let trends = null;

  function draw() {
    if (!trends) return;
    for (const box of small.querySelectorAll("[data-picture]")) {
      chart.draw(box, trends.minutes, trends.pictures.find((one) => one.key === box.dataset.picture), true);
    }
  }

  // Puts the parts of the page as the server renders it now in the place of those that are shown.
  async function freshen() {
    const answer = await window.taskdaemon.ask(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-fresh]")) {
      const fresh = page.querySelector(`[data-fresh="${old.dataset.fresh}"]`);
      if (!fresh) continue;
      const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      old.replaceChildren(...fresh.childNodes);
      if (focused) [...old.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
    }
  }

  if (updated) {
    if (small) {
      for (const box of small.querySelectorAll("[data-picture]")) chart.empty(box, "Loading…");
      every(30, async () => {
        trends = await window.taskdaemon.json(small.dataset.trends);
        draw();
      });
      onTheme(draw);
    }
    let first = true;
    every(SECONDS, async () => {
      if (!first) await freshen();
      first = false;
      said(updated);
    });
  }
}
