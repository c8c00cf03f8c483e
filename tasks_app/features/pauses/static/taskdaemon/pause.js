// The end of a pause is entered in the viewer's zone, and shown in UTC beside it. Without this, it is entered in UTC.
"use strict";
(() => {
  const until = document.getElementById("id_until"), offset = document.getElementById("id_offset");
  const utc = document.getElementById("id_until_helptext"), label = document.querySelector("label[for=id_until]");
  const atTime = document.querySelector("input[name=end][value=at]");
  const show = () => {
    const at = new Date(until.value), known = !isNaN(at);
    offset.value = known ? -at.getTimezoneOffset() : "";
    utc.textContent = known ? `= ${at.toISOString().slice(0, 16).replace("T", " ")} UTC` : "The time in UTC appears here.";
  };
  label.textContent = `Time (${Intl.DateTimeFormat().resolvedOptions().timeZone}):`;
  utc.setAttribute("aria-live", "polite");
  until.addEventListener("input", () => {
    if (until.value) atTime.checked = true;
    show();
  });
  show();
})();
