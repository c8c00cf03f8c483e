"use strict";
// The strip of slots, as in slot_strip.html.
{
  const SECONDS = 3;
  const MARKS = { warm: "W", starting: "S", dead: "D" };

  function element(name, classes, text) {
    const made = document.createElement(name);
    made.className = classes;
    made.textContent = text;
    return made;
  }

  // The letter is for eyes; the title is under the pointer, and the name is what a screen reader says.
  function slot(kind, state, letter, title, name) {
    const made = element(kind, `td-slot td-slot-${state}`, letter);
    made.title = title;
    made.setAttribute("aria-label", name);
    if (kind === "span") made.setAttribute("role", "img");
    return made;
  }

  function row(of) {
    const item = element("li", "td-slot-row", ""), slots = element("span", "td-slots", "");
    for (const one of of.busy) {
      const title = `busy for ${one.seconds}: task ${one.task}`, link = slot("a", "busy", "B", title, `slot, ${title}`);
      link.href = one.link;
      slots.append(link);
    }
    for (const [state, letter] of Object.entries(MARKS)) {
      for (let count = 0; count < of[state]; count++) slots.append(slot("span", state, letter, state, `${state} slot`));
    }
    if (of.more) slots.append(` and ${of.more} more`);
    const node = of.state === "alive" ? of.node : `${of.node}, ${of.state}`;
    item.append(element("strong", "", of.handler), " ", element("span", "td-slot-node", node), " ", slots);
    if (of.problem) item.append(" ", element("span", "td-error", of.problem));
    return item;
  }

  function show(list, rows) {
    const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    list.replaceChildren(...rows.map(row));
    if (!rows.length) list.append(element("li", "td-hint", "No node lives, and none has been silent for less than ten minutes."));
    if (focused) [...list.querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
  }

  const list = document.getElementById("td-slots"), updated = document.getElementById("td-updated");
  window.taskdaemon.every(SECONDS, async () => {
    show(list, (await window.taskdaemon.json(list.dataset.source)).rows);
    window.taskdaemon.said(updated);
  });
}
