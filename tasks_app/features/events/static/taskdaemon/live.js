// Follows the task of this page: its progress and log, its state and timeline. Without it the page shows what was.
"use strict";
(() => {
  const box = document.getElementById("td-live");
  if (!box) return;
  const bar = box.querySelector("progress");
  const said = box.querySelector(".td-live-progress");
  const state = box.querySelector(".td-live-state");
  const log = box.querySelector(".td-live-log");
  const SOON = 1000, LATER = 3000, LATEST = 15000, REFRESH = 5000;
  let after = box.dataset.after;
  let shown = `${box.dataset.status} ${box.dataset.attempt}`;
  let attempt = null, stream = null, failures = 0, timer = null, asks = false, over = false, refreshed = Date.now();

  const number = (value) => value.toLocaleString("en", { maximumFractionDigits: 2 });

  // The same text again is no news for a screen reader.
  function say(text) {
    if (state.textContent !== text) state.textContent = text;
  }

  function showProgress(progress) {
    bar.hidden = said.hidden = !progress;
    if (!progress) return;
    bar.value = progress.progress;
    const parts = [`${Math.floor(progress.progress * 100)} %`];
    if (progress.total !== undefined) parts.push(`${number(progress.done)} of ${number(progress.total)}`);
    if (progress.message) parts.push(progress.message);
    said.textContent = parts.join(" · ");
  }

  function part(name, className, text) {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
  }

  // What one stream wrote in a row, beside the stream's name.
  function add(name, text) {
    if (name !== stream) {
      const chunk = part("div", "td-live-chunk", "");
      chunk.append(part("span", "td-live-note", name), part("span", "td-live-text", ""));
      log.append(chunk);
      stream = name;
    }
    log.lastChild.lastChild.append(text);
  }

  function note(text) {
    log.append(part("div", "td-live-note", text));
    stream = null;
  }

  function showEvent(event) {
    const its = event.id.split(".")[0];
    if (its !== attempt) {
      log.textContent = "";
      attempt = its;
      stream = null;
    }
    if (event.kind === "end") {
      note(`Attempt ${its} has ended: ${event.body.outcome.replaceAll("_", " ")}.`);
    } else if (event.kind === "log" && event.body.cut) {
      note(`${number(event.body.cut)} bytes left out: the end of the log is shown once the attempt has ended.`);
    } else if (event.kind === "note") {
      note(`${event.body.text}.`);
    } else if (event.kind === "log" && event.body.text) {
      add(event.body.stream, event.body.text);
    }
  }

  function showEvents(events) {
    const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    events.forEach(showEvent);
    log.hidden = !log.textContent;
    if (follows) log.scrollTop = log.scrollHeight;
  }

  // The page itself, as the server has it now: its parts replace those of this one.
  async function refresh(names) {
    refreshed = Date.now();
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("[data-part]")) {
      const now = page.querySelector(`[data-part="${old.dataset.part}"]`);
      if (now && (!names || names.includes(old.dataset.part))) old.replaceWith(document.importNode(now, true));
    }
  }

  function end(text) {
    over = true;
    showProgress(null);
    say(text);
  }

  async function ask() {
    const answer = await fetch(`${box.dataset.address}?after=${after}`, { headers: { Accept: "application/json" } });
    if (answer.status === 404) return end("The task was deleted.");
    if (answer.redirected || answer.status === 403) return end("You are logged out, or may not see this task: reload the page.");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const now = await answer.json();
    after = now.next;
    showEvents(now.events);
    showProgress(now.progress);
    say(now.status === "processing" ? `Attempt ${now.attempt} runs.` : `The task is ${now.status}.`);
    const changed = `${now.status} ${now.attempt}`;
    if (changed !== shown) {
      await refresh();
      shown = changed;
    } else if (Date.now() - refreshed > REFRESH) {
      await refresh(["facts", "timeline"]);
    }
    if (now.done) return end(`The task is ${now.status}.`);
    return now.status === "processing" ? SOON : LATER;
  }

  async function turn() {
    timer = null;
    if (asks || over || document.hidden) return;
    asks = true;
    let pause = SOON;
    try {
      pause = (await ask()) ?? SOON;
      failures = 0;
    } catch {
      failures += 1;
      pause = Math.min(SOON * 2 ** failures, LATEST);
      say("The server does not answer; trying again.");
    }
    asks = false;
    if (!over && !document.hidden) timer = setTimeout(turn, pause);
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    turn();
  });
  box.hidden = false;
  turn();
})();
