// Keeps the page of a running operation up to date. Without it, the page reloads.
"use strict";
(() => {
  const place = document.querySelector(".td-progress[data-address]");
  if (!place) return;
  const bar = place.querySelector("progress"), said = place.querySelector("p");
  const update = async () => {
    try {
      const answer = await fetch(place.dataset.address, { credentials: "same-origin", redirect: "error" });
      const now = await answer.json();
      if (now.state !== "running") return location.reload();
      bar.max = now.expected;
      bar.value = now.tried;
      said.textContent = now.sentence;
    } catch (error) {
      said.textContent = "The server does not answer; trying again.";
    }
    setTimeout(update, 1000);
  };
  setTimeout(update, 500);
})();
