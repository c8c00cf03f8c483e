"use strict";
// Django's two-column selector names its search fields by pictures that have a name and no role: no screen reader reads
// them. It makes them once the page is loaded.
addEventListener("load", () => setTimeout(() => {
  for (const picture of document.querySelectorAll(".help-tooltip[aria-label]")) picture.setAttribute("role", "img");
}));
