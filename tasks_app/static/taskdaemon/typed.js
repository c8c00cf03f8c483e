"use strict";
// The tab keeps the text of a form that is sent, without passwords, while refusals or the login follow. If the form is the
// next page after them, for the same user, it has the text again, also after a reload.
addEventListener("DOMContentLoaded", () => {
  const KEY = "taskdaemon-typed", user = document.querySelector("[data-user]").dataset.user;
  const texts = form => [...form.elements].filter(
    field => field.name && ["textarea", "text", "number", "datetime-local"].includes(field.type)
  );
  const kept = JSON.parse(sessionStorage.getItem(KEY));
  if (kept && (!user || document.querySelector("[data-refused]"))) {
    sessionStorage.setItem(KEY, JSON.stringify({ ...kept, refused: true }));
  } else if (kept && !(kept.refused && kept.user === user && kept.address === location.href)) {
    sessionStorage.removeItem(KEY);
  } else if (kept) {
    for (const field of [...document.forms].flatMap(texts)) {
      if (!(field.name in kept.texts)) continue;
      field.value = kept.texts[field.name];
      field.dispatchEvent(new Event("input", { bubbles: true }));
    }
  }
  addEventListener("submit", event => {
    if (!user || event.target.method !== "post") return;
    const sent = Object.fromEntries(texts(event.target).map(field => [field.name, field.value]));
    try {
      sessionStorage.setItem(KEY, JSON.stringify({ user, address: location.href, texts: sent }));
    } catch {
      sessionStorage.removeItem(KEY);  // more than a tab may keep
    }
  });
});
