"use strict";
// Asks again and again while the page is visible. While something could not be updated, the page says so at its top.
{
  const LIMIT = 15000;
  const stale = new Set();
  const clock = (date) => `${date.toISOString().slice(11, 19)} UTC`;

  function notice(good) {
    const shown = document.getElementById("td-stale");
    if (!stale.size) return shown?.remove();
    if (shown) return;
    const said = document.createElement("p");
    said.id = "td-stale";
    said.className = "errornote";
    said.setAttribute("role", "alert");
    said.textContent = `Not updated since ${clock(good)}: the server does not answer, or you are logged out. It is tried again. `;
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = "Reload the page";
    said.append(link);
    document.getElementById("content").prepend(said);
  }

  window.taskdaemon = {
    // What an address of this host answers. Rejects on another answer than 2xx, also the redirect to the login, and on
    // none in time.
    async ask(address, headers = {}) {
      const answer = await fetch(address, { redirect: "error", headers, signal: AbortSignal.timeout(LIMIT) });
      if (!answer.ok) throw new Error(`answer ${answer.status}`);
      return answer;
    },

    async json(address) {
      return (await this.ask(address, { Accept: "application/json" })).json();
    },

    // Calls an async function now and every so many seconds, but not while the tab is hidden; at once when it is shown
    // again.
    every(seconds, act) {
      let timer = null, running = false, good = new Date();
      const run = async () => {
        clearTimeout(timer);
        timer = null;
        if (running || document.hidden) return;
        running = true;
        try {
          await act();
          good = new Date();
          stale.delete(act);
        } catch (error) {
          stale.add(act);
          console.info("not updated:", error);
        }
        notice(good);
        running = false;
        timer = setTimeout(run, seconds * 1000);
      };
      document.addEventListener("visibilitychange", run);
      run();
    },

    // Says when something was updated.
    said(element) {
      if (element) element.textContent = clock(new Date());
    },

    // Calls a function when the page's colours change.
    onTheme(act) {
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", act);
      new MutationObserver(act).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    },
  };
}
