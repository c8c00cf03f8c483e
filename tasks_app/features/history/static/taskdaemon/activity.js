"use strict";
// The activity page: draws its pictures, and again every half minute.
{
  const SECONDS = 30;
  const { every, onTheme, chart, scatter } = window.taskdaemon;
  const page = document.getElementById("td-pictures");
  const json = (address) => window.taskdaemon.json(address);
  const box = (key) => page.querySelector(`[data-picture="${key}"]`);
  let trends = null, runs = null;

  function draw() {
    if (!trends || !runs) return;
    for (const picture of trends.pictures) chart.draw(box(picture.key), trends.minutes, picture, false);
    scatter.draw(box("runs"), runs, page.dataset.task, 60 * (2 * trends.minutes[0] - trends.minutes[1]), 60 * trends.minutes.at(-1));
  }

  for (const each of page.querySelectorAll("[data-picture]")) chart.empty(each, "Loading…");
  every(SECONDS, async () => {
    [trends, runs] = await Promise.all([json(page.dataset.trends), json(page.dataset.runs)]);
    draw();
  });
  onTheme(draw);

  const choice = document.getElementById("td-handler");
  choice.addEventListener("change", () => choice.form.submit());
}
