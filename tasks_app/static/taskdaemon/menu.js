"use strict";
// Escape closes the filters, if the focus is in them, or the bar's menu, and gives the focus back.
addEventListener("keydown", event => {
  if (event.key !== "Escape") return;
  const open = event.target.closest(".td-filters[open]") || document.querySelector(".td-more[open]");
  if (!open) return;
  open.open = false;
  open.querySelector("summary").focus();
});
