"use strict";
// Draws each run as a mark: when it ended and how long it took. A click leads to its task.
{
  const { axis, css, duration, empty, follow, sized, times, utc } = window.taskdaemon.chart;
  const NEAR = 18;  // pixels
  const HEIGHT = 280;

  const polygon = (...points) => (pen, x, y, r) => {
    points.forEach(([dx, dy], index) => pen[index ? "lineTo" : "moveTo"](x + dx * r, y + dy * r));
    pen.closePath();
  };
  const lines = (...ends) => (pen, x, y, r) => ends.forEach(([ax, ay, bx, by]) => {
    pen.moveTo(x + ax * r, y + ay * r);
    pen.lineTo(x + bx * r, y + by * r);
  });
  // By outcome: the colour's number and the shape.
  const MARKS = {
    success: [0, (pen, x, y, r) => { pen.moveTo(x + r * 0.7, y); pen.arc(x, y, r * 0.7, 0, 7); }],
    error: [1, lines([-1, -1, 1, 1], [-1, 1, 1, -1])],
    timeout: [2, polygon([0, -1], [1, 1], [-1, 1])],
    crash: [3, polygon([-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9])],
    oom: [4, polygon([0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0])],
    bad_reply: [5, polygon([0, 1], [1, -1], [-1, -1])],
    worker_lost: [6, lines([-1, 0, 1, 0], [0, -1, 0, 1])],
    released: [7, lines([-1, 0, 1, 0])],
    cancelled: [8, lines([0, -1, 0, 1])],
  };
  const colour = (outcome) => css(`--td-outcome-${outcome}`);

  function mark(pen, outcome, x, y, r, ratio) {
    const [, shape] = MARKS[outcome] ?? MARKS.error;
    pen.strokeStyle = pen.fillStyle = colour(outcome);
    pen.lineWidth = 1.5 * ratio;
    pen.beginPath();
    shape(pen, x, y, r);
    if (outcome === "success") pen.fill();
    else pen.stroke();
  }

  function legend(box, runs) {
    const list = document.createElement("ul"), ratio = devicePixelRatio || 1;
    list.className = "td-legend";
    for (const outcome of Object.keys(MARKS)) {
      const count = runs.filter((run) => run[2] === outcome).length;
      if (!count) continue;
      const item = document.createElement("li"), canvas = document.createElement("canvas");
      canvas.className = "td-swatch td-swatch-mark";
      canvas.width = canvas.height = 14 * ratio;
      canvas.setAttribute("aria-hidden", "true");
      mark(canvas.getContext("2d"), outcome, 7 * ratio, 7 * ratio, 4 * ratio, ratio);
      item.append(canvas, ` ${outcome.replace("_", " ")} ${count.toLocaleString("en")}`);
      list.append(item);
    }
    box.append(list);
  }

  // `found` as in pictures.py; `page`: the address of a task's page with an id of zeros in place of the task's.
  // `from`, `to`: the time that the page shows, in seconds since 1970.
  function draw(box, found, page, from, to) {
    const runs = found.runs.slice().sort((one, other) => one[0] - other[0]);
    if (!runs.length) {
      empty(box, "No attempt has ended in this time.");
      return;
    }
    const took = (run) => Math.max(run[1], 0.0001);
    box.replaceChildren();
    box.setAttribute("role", "img");
    const longest = Math.max(...runs.map((run) => run[1]));
    box.setAttribute("aria-label", `${runs.length} runs, the longest took ${duration(longest)}. The table below has the latest.`);
    const marks = (chart) => {
      const pen = chart.ctx, ratio = devicePixelRatio || 1;
      pen.save();
      for (const run of runs) {
        mark(pen, run[2], chart.valToPos(run[0], "x", true), chart.valToPos(took(run), "y", true), 4 * ratio, ratio);
      }
      pen.restore();
    };
    const chart = new uPlot({
      ...sized(box, HEIGHT),
      padding: [12, 18, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { show: false } },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      scales: { x: { range: [from, Math.max(to, runs.at(-1)[0])] }, y: { distr: 3 } },
      axes: [axis({ values: times, space: 60, size: 30 }), axis({ size: 58, values: (_, splits) => splits.map((at) => (at === null ? "" : duration(at))) })],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: { draw: [marks] },
    }, [runs.map((run) => run[0]), runs.map(took)], box);
    follow(chart, box, HEIGHT);
    legend(box, runs);
    const note = document.createElement("p");
    note.className = "td-hint td-when-at";
    note.textContent = found.sampled ? "A sample: this time has more runs. A click on a mark leads to its task." : "A click on a mark leads to its task.";
    box.append(note);

    const tip = document.createElement("p");
    tip.className = "td-tip";
    tip.hidden = true;
    chart.over.append(tip);
    const nearest = (event) => {
      const frame = chart.over.getBoundingClientRect(), x = event.clientX - frame.left, y = event.clientY - frame.top;
      let best = null, distance = NEAR;
      for (const run of runs) {
        const far = Math.hypot(chart.valToPos(run[0], "x") - x, chart.valToPos(took(run), "y") - y);
        if (far < distance) [best, distance] = [run, far];
      }
      return best;
    };
    chart.over.addEventListener("mousemove", (event) => {
      const run = nearest(event);
      tip.hidden = !run;
      chart.over.classList.toggle("td-clickable", Boolean(run));
      if (!run) return;
      tip.textContent = `${run[4]}: ${run[2].replace("_", " ")} in ${duration(run[1])}, attempt ${run[5]}, ${utc(run[0]).slice(11, 19)}`;
      const x = chart.valToPos(run[0], "x"), right = x > chart.over.clientWidth / 2;
      tip.style.left = right ? "" : `${x + 10}px`;
      tip.style.right = right ? `${chart.over.clientWidth - x + 10}px` : "";
      tip.style.top = `${Math.max(chart.valToPos(took(run), "y") - 30, 0)}px`;
    });
    chart.over.addEventListener("mouseleave", () => { tip.hidden = true; });
    chart.over.addEventListener("click", (event) => {
      const run = nearest(event);
      if (run) location.assign(page.replace("00000000-0000-0000-0000-000000000000", encodeURIComponent(run[3])));
    });
  }

  window.taskdaemon.scatter = { draw };
}
