"use strict";
// Asks again and again while the page is visible.
window.taskdaemon = {
  // JSON from an address of this host. Rejects on any other answer, also the redirect to the login.
  async json(address) {
    const answer = await fetch(address, { redirect: "error", headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(`answer ${answer.status}`);
    return answer.json();
  },

  // Calls an async function now and every so many seconds, but not while the tab is hidden; at once when it is shown
  // again. `failed` gets each error.
  every(seconds, act, failed) {
    let timer = null, running = false;
    const run = async () => {
      clearTimeout(timer);
      timer = null;
      if (running || document.hidden) return;
      running = true;
      try {
        await act();
      } catch (error) {
        failed(error);
      }
      running = false;
      timer = setTimeout(run, seconds * 1000);
    };
    document.addEventListener("visibilitychange", run);
    run();
  },

  // Says when something was updated, or that it was not.
  said(element, error) {
    if (!element) return;
    const time = new Date().toISOString().slice(11, 19);
    element.textContent = error ? `Not updated at ${time} UTC. Reload the page if this stays.` : `${time} UTC`;
    element.classList.toggle("td-text-failed", Boolean(error));
  },

  // Calls a function when the page's colours change.
  onTheme(act) {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", act);
    new MutationObserver(act).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  },
};
