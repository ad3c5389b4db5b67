// Draws the learning curves with uPlot from the JSON in #curve-data. Everything else on the page is
// plain HTML and works without this script. Names reach the document as text only, never as HTML.
(() => {
  "use strict";
  const root = document.documentElement;
  addEventListener("error", (event) => { root.dataset.error = event.message; });

  // Dashes differ as well as colours, so that lines lying on each other all stay visible.
  const DASHES = [[], [10, 7], [3, 6], [14, 5, 3, 5], [6, 6], [2, 4]];
  const SVG = document.querySelector("svg").namespaceURI;
  const THUMB = { width: 150, height: 64 };
  const block = document.getElementById("curve-data");
  if (!block) { root.dataset.ready = "true"; return; }

  const data = JSON.parse(block.textContent);
  const place = (id) => document.getElementById(id);
  const hidden = new Set();
  let x = data.x[0];
  let y = data.first;
  let main = null;
  let thumbs = [];

  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const label = (name) => name.replaceAll("_", " ");
  const short = (value) => value == null ? "–" : String(Number(value.toPrecision(4)));

  function make(tag, text, properties) {
    const node = Object.assign(document.createElement(tag), properties);
    if (text != null) node.textContent = text;
    return node;
  }

  // The edges of a band are series too, though not drawn themselves.
  function edgesOf(backend) {
    const edge = { show: !hidden.has(backend.name), width: 0, points: { show: false } };
    return [edge, { ...edge }];
  }

  function meanOf(backend, points, width) {
    const stroke = css(`--c${backend.slot}`);
    const show = !hidden.has(backend.name);
    return { show, stroke, width, dash: DASHES[backend.slot], points: { show: points, stroke } };
  }

  // The backends that have this column, each with its line {mean, low, high}.
  function linesOf(column) {
    const found = data.charts[x].y[column].lines;
    return data.backends.filter(({ name }) => Object.hasOwn(found, name))
      .map((backend) => ({ ...backend, line: found[backend.name] }));
  }

  function draw(node, column, size, options) {
    const shown = linesOf(column);
    const grid = data.charts[x].grid;
    const points = options.points && grid.length <= 20;
    // All edges come before all means, so that no band lies on another backend's line.
    const values = [
      grid, ...shown.flatMap(({ line }) => [line.low, line.high]), ...shown.map(({ line }) => line.mean),
    ];
    const means = shown.map((backend) => meanOf(backend, points, options.width));
    const series = [{}, ...shown.flatMap(edgesOf), ...means];
    const bands = shown.map((backend, k) => (
      { series: [2 * k + 2, 2 * k + 1], fill: `${css(`--c${backend.slot}`)}2e` }
    ));
    node.replaceChildren();
    return new uPlot({
      ...size, series, bands, ...options.plot,
      scales: { x: { time: false } },
      legend: { show: false },
    }, values, node);
  }

  function axis(extra) {
    const grid = { stroke: css("--line"), width: 1 };
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    return { stroke: css("--muted"), grid, ticks: grid, font, labelFont: font, ...extra };
  }

  function drawMain() {
    const node = place("chart");
    const wide = node.clientWidth;
    const size = { width: wide, height: wide < 600 ? 280 : 380 };
    const tick = (_, values) => values.map((value) => value == null ? "" : short(value));
    const plot = {
      axes: [
        axis({ label: label(x), labelSize: 22, values: tick }),
        axis({ values: tick, size: wide < 600 ? 52 : 64 }),
      ],
      cursor: { drag: { x: true, y: false }, points: { size: 6 } },
      padding: [12, 12, 0, 0],
      hooks: { setCursor: [(chart) => showValues(chart.cursor.idx)] },
    };
    if (main) main.destroy();
    main = draw(node, y, size, { points: true, width: 2.25, plot });
    place("note").textContent = data.charts[x].y[y].note;
    drawLegend();
  }

  function drawLegend() {
    const title = make("span", label(y), { className: "chart-title" });
    const entries = linesOf(y).map((backend) => {
      const button = make("button", null, { className: `colour-${backend.slot}` });
      button.setAttribute("aria-pressed", String(!hidden.has(backend.name)));
      const sample = document.createElementNS(SVG, "svg");
      const stroke = document.createElementNS(SVG, "line");
      for (const [key, value] of Object.entries({ x1: 0, x2: 34, y1: 4, y2: 4 })) {
        stroke.setAttribute(key, value);
      }
      stroke.setAttribute("stroke-dasharray", DASHES[backend.slot].join(" "));
      sample.append(stroke);
      button.append(sample, make("span", backend.name), make("output", ""));
      button.addEventListener("click", () => { toggle(backend.name); });
      return button;
    });
    place("legend").replaceChildren(title, ...entries);
  }

  function showValues(index) {
    const outputs = place("legend").querySelectorAll("output");
    linesOf(y).forEach(({ line }, k) => {
      const band = line.low[index] == null ? "" : ` (${short(line.low[index])} to ${short(line.high[index])})`;
      outputs[k].textContent = index == null ? "" : short(line.mean[index]) + band;
    });
  }

  function drawThumbs() {
    thumbs.forEach((chart) => chart.destroy());
    const buttons = data.y.map((column) => {
      const button = make("button", null, { className: "thumb", title: column });
      const body = make("div");
      button.append(make("span", label(column)), body);
      button.addEventListener("click", () => { y = column; drawMain(); press(); });
      return { button, body };
    });
    place("thumbs").replaceChildren(...buttons.map((each) => each.button));
    const plot = { axes: [{ show: false }, { show: false }], cursor: { show: false }, padding: [4, 0, 4, 0] };
    thumbs = buttons.map(({ body }, k) => {
      const size = { ...THUMB, width: Math.max(60, body.clientWidth) };
      return draw(body, data.y[k], size, { points: false, width: 1.5, plot });
    });
    press();
  }

  function drawChoice() {
    const buttons = data.x.map((name) => {
      const button = make("button", label(name));
      button.addEventListener("click", () => { x = name; drawAll(); });
      return button;
    });
    const words = make("span", "Along");
    place("x-choice").replaceChildren(...(data.x.length > 1 ? [words, ...buttons] : []));
  }

  function press() {
    const mark = (nodes, names, chosen) => nodes.forEach((node, k) => {
      node.setAttribute("aria-pressed", String(names[k] === chosen));
    });
    mark(place("thumbs").querySelectorAll("button"), data.y, y);
    mark(place("x-choice").querySelectorAll("button"), data.x, x);
  }

  function toggle(name) {
    if (!hidden.delete(name)) hidden.add(name);
    const position = [...place("legend").children].indexOf(document.activeElement);
    drawAll();
    place("legend").children[position]?.focus();
  }

  function drawAll() { drawMain(); drawThumbs(); }

  drawChoice();
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let width = place("chart").clientWidth;
  new ResizeObserver(() => {
    if (place("chart").clientWidth !== width) { width = place("chart").clientWidth; drawAll(); }
  }).observe(place("chart"));
  root.dataset.ready = "true";
})();
