"use strict";
// Draws the pictures whose values are along time. Series differ by colour, and by dashes or hatching too.
{
  const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3], [14, 4], [4, 2], [1, 4], [9, 2, 2, 2, 2, 2], [5, 5], [12, 2]];
  const COLOURS = 10;

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // Green and red are outcomes'; lines begin with the third colour.
  const colour = (index, stacked = true) => css(`--td-series-${(stacked ? index : [2, 3, 6][index % 3]) % COLOURS}`);

  // 0.0015 -> "1.5 ms", 90 -> "1.5 min"
  function duration(seconds) {
    if (seconds === 0) return "0";
    const short = (value) => String(Number(value.toPrecision(2)));
    if (seconds < 1) return `${short(seconds * 1000)} ms`;
    if (seconds < 120) return `${short(seconds)} s`;
    if (seconds < 7200) return `${short(seconds / 60)} min`;
    return seconds < 172800 ? `${short(seconds / 3600)} h` : `${short(seconds / 86400)} d`;
  }

  function shown(value, unit) {
    if (value === null || value === undefined) return "–";
    if (unit === "seconds") return duration(value);
    return value.toLocaleString("en", { maximumFractionDigits: unit === "rate" ? 1 : 0 });
  }

  const utc = (seconds) => new Date(seconds * 1000).toISOString();

  const DAY = new Intl.DateTimeFormat("en", { month: "short", day: "numeric", timeZone: "UTC" });

  function times(_, splits) {
    return splits.map((at) => (at % 86400 ? utc(at).slice(11, 16) : DAY.format(at * 1000)));
  }

  // Hatching in the series' colour on a paler ground. The first look is plain.
  function hatch(index, ratio) {
    const size = Math.round(8 * ratio), tile = document.createElement("canvas");
    tile.width = tile.height = size;
    const pen = tile.getContext("2d");
    pen.fillStyle = css("--td-chart-ground");
    pen.fillRect(0, 0, size, size);
    pen.globalAlpha = index ? 0.3 : 0.55;
    pen.fillStyle = pen.strokeStyle = colour(index);
    pen.fillRect(0, 0, size, size);
    pen.globalAlpha = 1;
    pen.lineWidth = 1.5 * ratio;
    pen.beginPath();
    const line = (...ends) => { pen.moveTo(ends[0] * size, ends[1] * size); pen.lineTo(ends[2] * size, ends[3] * size); };
    if ([1, 3, 7].includes(index)) { line(0, 1, 1, 0); line(-0.5, 0.5, 0.5, -0.5); line(0.5, 1.5, 1.5, 0.5); }
    if ([2, 3, 8].includes(index)) { line(0, 0, 1, 1); line(-0.5, 0.5, 0.5, 1.5); line(0.5, -0.5, 1.5, 0.5); }
    if ([4, 6, 7, 8].includes(index)) line(0, 0.5, 1, 0.5);
    if ([5, 6].includes(index)) line(0.5, 0, 0.5, 1);
    if (index === 9) line(0.4, 0.5, 0.6, 0.5);
    pen.stroke();
    return pen.createPattern(tile, "repeat");
  }

  function swatch(index, stacked) {
    const canvas = document.createElement("canvas"), ratio = devicePixelRatio || 1;
    canvas.width = 30 * ratio;
    canvas.height = 12 * ratio;
    canvas.className = "td-swatch";
    canvas.setAttribute("aria-hidden", "true");
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    if (stacked) {
      pen.fillStyle = hatch(index, 1);
      pen.fillRect(0, 0, 30, 12);
    }
    pen.strokeStyle = colour(index, stacked);
    pen.lineWidth = 2;
    if (!stacked) pen.setLineDash(DASHES[index % DASHES.length]);
    pen.beginPath();
    pen.moveTo(0, stacked ? 1 : 6);
    pen.lineTo(30, stacked ? 1 : 6);
    pen.stroke();
    return canvas;
  }

  // A list of the series, which says their values at the cursor. Returns a function that takes a place, or null.
  function legend(box, picture) {
    const list = document.createElement("ul");
    list.className = "td-legend";
    const values = picture.series.map((one, index) => {
      const item = document.createElement("li"), value = document.createElement("span");
      value.className = "td-value";
      item.append(swatch(picture.looks[index], picture.kind === "stacked"), ` ${one.label} `, value);
      list.append(item);
      return value;
    });
    box.append(list);
    return (place) => picture.series.forEach((one, index) => {
      const at = place ?? one.values.findLastIndex((value) => value !== null);
      values[index].textContent = shown(one.values[at], picture.unit);
    });
  }

  // One sentence for who cannot see it.
  function sentence(picture) {
    const parts = picture.series.map((one) => {
      const known = one.values.filter((value) => value !== null);
      if (!known.length) return `${one.label}: no values`;
      const last = one.values.findLast((value) => value !== null);
      return `${one.label}: ${shown(last, picture.unit)}, at most ${shown(Math.max(...known), picture.unit)}`;
    });
    return `${picture.title}. ${parts.join("; ")}. The table below has the figures.`;
  }

  // Steps of an axis of things that are counted.
  const WHOLE = Array.from({ length: 13 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();
  // Steps of an axis of seconds that `duration` says in few digits.
  const STEPS = [
    ...[0.001, 0.01, 0.1].flatMap((ten) => [ten, 2 * ten, 5 * ten]), 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800,
    3600, 7200, 14400, 21600, 43200, ...WHOLE.slice(0, 15).map((days) => days * 86400),
  ];

  const axis = (more) => ({
    stroke: css("--body-quiet-color"), font: "11px sans-serif",
    grid: { stroke: css("--hairline-color"), width: 1 }, ticks: { stroke: css("--hairline-color"), width: 1 }, ...more,
  });

  const sized = (box, height) => ({ width: Math.max(box.clientWidth, 120), height });

  function follow(chart, box, height) {
    const watcher = new ResizeObserver(() => {
      if (!box.isConnected) watcher.disconnect();
      else if (sized(box, height).width !== chart.width) chart.setSize(sized(box, height));
    });
    watcher.observe(box);
  }

  function empty(box, text) {
    const hint = document.createElement("p");
    hint.className = "td-hint";
    hint.textContent = text;
    box.replaceChildren(hint);
    box.removeAttribute("role");
    box.removeAttribute("aria-label");
  }

  // The places of values between unknown ones: no line leads to them, so they need a point. null: all places.
  const alone = (chart, series, show) => {
    if (show) return null;
    const values = chart.data[series], found = [];
    values.forEach((value, at) => {
      if (value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null) found.push(at);
    });
    return found;
  };

  // `picture` as in pictures.py; `small`: no axis of time, no legend.
  function draw(box, minutes, picture, small) {
    const known = picture.series.some((one) => one.values.some((value) => value !== null));
    if (!known) {
      empty(box, picture.unit === "seconds" ? "Nothing was measured in this time." : "No figures for this time yet.");
      return;
    }
    const stacked = picture.kind === "stacked", height = small ? 90 : 190, ratio = devicePixelRatio || 1;
    let values = picture.series.map((one) => one.values);
    if (stacked) {
      const sums = minutes.map(() => 0);
      values = values.map((one) => one.map((value, at) => (value === null ? null : (sums[at] += value))));
    }
    if (picture.log) values = values.map((one) => one.map((value) => (value === null ? null : Math.max(value, 0.0001))));
    // The highest of the stack is drawn first; those below it cover the rest.
    const order = values.map((_, index) => index);
    if (stacked) order.reverse();
    const series = order.map((place) => picture.looks[place]).map((index) => ({
      stroke: colour(index, stacked), width: 2, dash: stacked ? [] : DASHES[index % DASHES.length],
      fill: stacked ? hatch(index, ratio) : undefined,
      paths: stacked ? uPlot.paths.stepped({ align: -1 }) : undefined,
      points: { size: 5, fill: colour(index, stacked), filter: stacked ? undefined : alone, show: stacked ? false : undefined },
    }));
    box.replaceChildren();
    box.setAttribute("role", "img");
    box.setAttribute("aria-label", sentence(picture));
    const chart = new uPlot({
      ...sized(box, height),
      padding: [8, 18, small ? 8 : 0, 0],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, sync: { key: "activity" }, points: { size: 7 } },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      scales: { y: picture.log ? { distr: 3 } : { range: (_, low, high) => [0, Math.max(high, 1) * 1.08] } },
      axes: [
        axis({ values: times, show: !small, space: 60, size: 30 }),
        axis({ size: 58, space: small ? 30 : 36, incrs: picture.log ? undefined : { seconds: STEPS, tasks: WHOLE, slots: WHOLE }[picture.unit], values: (_, splits) => splits.map((at) => (at === null ? "" : shown(at, picture.unit))) }),
      ],
      series: [{}, ...series],
    }, [minutes.map((minute) => minute * 60), ...order.map((index) => values[index])], box);
    follow(chart, box, height);
    if (small) return;
    const say = legend(box, picture), when = document.createElement("li");
    when.className = "td-hint";
    box.querySelector(".td-legend").append(when);
    const update = () => {
      const place = chart.cursor.idx ?? null;
      say(place);
      when.textContent = place === null ? "latest" : `until ${utc(chart.data[0][place]).slice(0, 16).replace("T", " ")} UTC`;
    };
    (chart.hooks.setCursor ??= []).push(update);
    update();
  }

  window.taskdaemon.chart = { draw, axis, css, colour, duration, empty, follow, sized, times, utc };
}
