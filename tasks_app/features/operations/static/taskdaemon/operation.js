// Keeps the page of a running operation up to date. Without it, the page reloads.
"use strict";
(() => {
  const place = document.querySelector(".td-progress[data-address]");
  if (!place) return;
  const bar = place.querySelector("progress"), said = place.querySelector("p"), status = place.querySelector("[role=status]");
  // The same text again is no news for a screen reader.
  const say = (text) => { if (status.textContent !== text) status.textContent = text; };
  const update = async () => {
    try {
      const answer = await fetch(place.dataset.address, { redirect: "error", headers: { Accept: "application/json" } });
      if (answer.status >= 500) throw new Error(`answer ${answer.status}`);
      const now = await answer.json();
      if (now.state !== "running") return location.reload();
      bar.max = now.expected;
      bar.value = now.tried;
      said.textContent = now.sentence;
      say("");
    } catch (error) {
      say("The server does not answer; trying again.");
    }
    setTimeout(update, 1000);
  };
  setTimeout(update, 500);
})();
