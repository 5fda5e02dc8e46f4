"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);

  // ---- The gallery -------------------------------------------------------------------------------------------------

  const MILLISECONDS = 350;

  function gallery(clips) {
    const player = document.getElementById("player");
    if (!player || !clips.length) return;
    const [button, scrubber, speed, positionText] = ["play", "scrubber", "speed", "position"].map((id) => document.getElementById(id));
    const panels = clips.flatMap((clip) => figure(clip, document.getElementById("clips")));
    const length = Math.max(...panels.map((panel) => panel.row.frames.length));
    let timer = null;
    scrubber.max = length - 1;

    function show(position) {
      scrubber.value = position;
      for (const panel of panels) panel.draw(position);
      const text = `${position + 1} of ${length}`;
      positionText.textContent = text;
      const longest = panels.reduce((a, b) => (b.row.frames.length > a.row.frames.length ? b : a));
      scrubber.setAttribute("aria-valuetext", `${text}: ${longest.row.name} ${longest.caption(position)}`);
    }

    function step(by) {
      show((Number(scrubber.value) + by + length) % length);
    }

    function play(on) {
      clearInterval(timer);
      timer = on ? setInterval(() => step(1), MILLISECONDS / Number(speed.value)) : null;
      button.textContent = on ? "Pause" : "Play";
    }

    button.addEventListener("click", () => play(timer === null));
    speed.addEventListener("change", () => play(timer !== null));
    scrubber.addEventListener("input", () => {
      play(false);
      show(Number(scrubber.value));
    });
    player.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || event.target === speed) return;
      if (event.key === " " && event.target !== button) play(timer === null);
      else if (event.key === "ArrowRight" || event.key === "ArrowUp") stop(() => step(1));
      else if (event.key === "ArrowLeft" || event.key === "ArrowDown") stop(() => step(-1));
      else if (event.key === "Home") stop(() => show(0));
      else if (event.key === "End") stop(() => show(length - 1));
      else return;
      event.preventDefault();
    });

    function stop(then) {
      play(false);
      then();
    }

    show(0);
    play(length > 1 && !matchMedia("(prefers-reduced-motion: reduce)").matches);
  }

  /* Adds a clip below the others, and returns its panels. All text is set as text, never as HTML. */
  function figure(clip, parent) {
    const outer = element("figure", { class: "clip" }, parent);
    const caption = element("figcaption", {}, outer);
    element("strong", {}, caption).textContent = clip.title;
    if (clip.note) element("span", {}, caption).textContent = clip.note;
    const grid = element("div", { class: "panels" }, outer);
    grid.style.setProperty("--panels", clip.rows.length);
    const bars = element("div", { class: "bars" }, outer);
    for (const [kind, [low, high]] of Object.entries(clip.bars)) {
      const label = `Colour bar of ${kind === "values" ? "values" : "differences"}, from ${low} to ${high}`;
      const line = element("div", { role: "img", "aria-label": label }, bars);
      element("span", {}, line).textContent = low;
      element("i", { class: kind }, line);
      element("span", {}, line).textContent = high;
    }
    return clip.rows.map((row) => {
      const cell = element("div", { class: "panel" }, grid);
      const label = `${row.name}: ${clip.title}`;
      const canvas = element("canvas", { width: clip.width, height: clip.height, role: "img", "aria-label": label }, cell);
      element("b", {}, cell).textContent = row.name;
      const under = element("span", {}, cell);
      const context = canvas.getContext("2d");
      const sheet = new Image();
      let position = 0;
      const panel = {
        row,
        caption(at) {
          const number = row.frames[Math.min(at, row.frames.length - 1)];
          return `${row.name === "input" ? "frame" : "lead time"} ${number} of ${row.of}`;
        },
        draw(at) {
          position = at;
          under.textContent = panel.caption(at);
          if (!sheet.complete || !sheet.naturalWidth) return;
          const frame = Math.min(at, row.frames.length - 1);
          const left = (frame % row.columns) * clip.width;
          const top = Math.floor(frame / row.columns) * clip.height;
          context.drawImage(sheet, left, top, clip.width, clip.height, 0, 0, clip.width, clip.height);
        },
      };
      sheet.addEventListener("load", () => panel.draw(position));
      sheet.src = row.source;
      return panel;
    });
  }

  // ---- Line charts -------------------------------------------------------------------------------------------------

  const DASHES = ["", "7 4", "2 3", "9 3 2 3", "4 2", "12 4"];
  // Another dash in each round of the markers.
  const dashes = (index) => DASHES[(index + Math.floor(index / 6)) % 6];
  const COLOURS = 10;
  // Drawn around the origin, within 4 pixels.
  const MARKERS = [
    "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z",
    "M-3 -3h6v6h-6z",
    "M0 -4l4 7h-8z",
    "M0 -4.2l4.2 4.2l-4.2 4.2l-4.2 -4.2z",
    "M0 4l4 -7h-8z",
    "M-3.5 -3.5l7 7m0 -7l-7 7",
  ];
  const MOST_MARKERS = 24;

  function chart(container, spec) {
    let view = spec.views[0];
    const plot = container.querySelector(".plot");
    const legend = container.querySelector(".legend");
    const output = container.querySelector("output");
    // A name has one colour in all charts of one kind, of which the first has all names.
    const alike = data.charts.filter((one) => one.x_label === spec.x_label).flatMap((one) => one.views);
    const names = [...new Set(alike.flatMap((one) => one.lines.map((line) => line.name)))];
    let drawn = 0;

    for (const choice of container.querySelectorAll(".views input")) {
      choice.addEventListener("change", () => {
        view = spec.views[Number(choice.value)];
        draw();
      });
    }

    function draw() {
      drawn = plot.clientWidth;
      plot.replaceChildren();
      legend.replaceChildren();
      output.textContent = "Point at the chart, or focus it and use the arrow keys, to read values.";
      const lines = view.lines.map((line) => ({
        ...line,
        index: names.indexOf(line.name),
        points: line.x.map((x, i) => [x, line.y[i]]).filter(([, y]) => y !== null && (!view.log || y > 0)),
      }));
      const points = lines.flatMap((line) => line.points);
      if (!points.length || drawn < 50) return;
      const width = drawn;
      const height = Math.round(Math.min(340, Math.max(220, width * 0.55)));
      const reference = view.reference ? [view.reference[0]] : [];
      const horizontal = range(points.map(([x]) => x), false, false);
      const vertical = range([...points.map(([, y]) => y), ...reference], view.from_zero && !view.log, view.log);
      const yTicks = view.log ? decades(vertical) : ticks(vertical, 5);
      const left = 14 + 7 * Math.max(...yTicks.map((tick) => short(tick).length));
      const [right, top, bottom] = [12, 22, 38];
      const scale = view.log ? Math.log : (value) => value;
      const atX = (x) => left + ((x - horizontal[0]) / (horizontal[1] - horizontal[0])) * (width - left - right);
      const atY = (y) =>
        height - bottom - ((scale(y) - scale(vertical[0])) / (scale(vertical[1]) - scale(vertical[0]))) * (height - top - bottom);
      const label = `${spec.title}: ${view.name}. The arrow keys read values; they are also in the table below.`;
      const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", tabindex: 0, "aria-label": label }, plot);

      for (const tick of yTicks) {
        shape("line", { class: "grid", x1: left, x2: width - right, y1: atY(tick), y2: atY(tick) }, svg);
        written(svg, short(tick), { x: left - 7, y: atY(tick) + 4, "text-anchor": "end" });
      }
      const whole = points.every(([x]) => Number.isInteger(x));
      for (const tick of ticks(horizontal, width / 50).filter((at) => !whole || Number.isInteger(at))) {
        written(svg, short(tick), { x: atX(tick), y: height - bottom + 17, "text-anchor": "middle" });
      }
      shape("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }, svg);
      written(svg, view.name, { x: 0, y: 11 });
      written(svg, spec.x_label, { x: width - right, y: height - 4, "text-anchor": "end" });
      if (view.reference) {
        const y = atY(view.reference[0]);
        shape("line", { class: "reference", x1: left, x2: width - right, y1: y, y2: y }, svg);
        written(svg, view.reference[1], { x: width - right, y: y - 6, "text-anchor": "end" });
      }
      for (const line of [...lines].reverse()) {
        const faint = line.name === "logged steps" && lines.length > 1 ? " faint" : "";
        const parts = parted(line, view.log);
        const path = parts.map((part) => "M" + part.map(([x, y]) => `${atX(x).toFixed(1)} ${atY(y).toFixed(1)}`).join("L")).join("");
        style(shape("path", { class: `line${faint}`, d: path, "stroke-dasharray": dashes(line.index) }, svg), line.index);
        if (line.points.length <= MOST_MARKERS) {
          for (const [x, y] of line.points) {
            const transform = `translate(${atX(x).toFixed(1)} ${atY(y).toFixed(1)})`;
            style(shape("path", { class: "marker", d: MARKERS[line.index % 6], transform }, svg), line.index);
          }
        }
      }
      if (lines.length > 1 || spec.views.length > 1) for (const line of lines) entry(line);
      readout(svg, lines, { atX, top, bottom: height - bottom, left });
    }

    function entry(line) {
      const item = element("li", {}, legend);
      const swatch = shape("svg", { viewBox: "0 0 34 12", "aria-hidden": "true" }, item);
      const stroke = { class: "line", d: "M0 6H34", "stroke-dasharray": dashes(line.index) };
      style(shape("path", stroke, swatch), line.index);
      if (line.points.length <= MOST_MARKERS) {
        style(shape("path", { class: "marker", d: MARKERS[line.index % 6], transform: "translate(17 6)" }, swatch), line.index);
      }
      element("span", {}, item).textContent = line.name;
    }

    /* Shows the values at the pointer, or at the cursor that the arrow keys move. */
    function readout(svg, lines, { atX, top, bottom }) {
      const steps = [...new Set(lines.flatMap((line) => line.points.map(([x]) => x)))].sort((a, b) => a - b);
      const cursor = shape("line", { class: "at", y1: top, y2: bottom, visibility: "hidden" }, svg);
      let at = -1;
      function read(index) {
        at = Math.min(steps.length - 1, Math.max(0, index));
        for (const side of ["x1", "x2"]) cursor.setAttribute(side, atX(steps[at]));
        cursor.setAttribute("visibility", "visible");
        const values = lines.flatMap((line) => {
          const point = line.points.find(([x]) => x === steps[at]);
          return point ? [`${line.name} ${exact(point[1])}`] : [];
        });
        output.textContent = `${spec.x_label} ${steps[at].toLocaleString("en")}: ${values.join("; ")}`;
      }
      svg.addEventListener("pointermove", (event) => {
        const x = event.clientX - svg.getBoundingClientRect().left;
        const away = steps.map((step) => Math.abs(atX(step) - x));
        read(away.indexOf(Math.min(...away)));
      });
      svg.addEventListener("keydown", (event) => {
        if (event.key === "ArrowRight") read(at + 1);
        else if (event.key === "ArrowLeft") read(at < 0 ? steps.length - 1 : at - 1);
        else return;
        event.preventDefault();
      });
    }

    new ResizeObserver(() => {
      if (plot.clientWidth !== drawn) draw();
    }).observe(plot);
    draw();
  }

  /* Splits a line at its gaps. */
  function parted(line, log) {
    const parts = [[]];
    line.x.forEach((x, i) => {
      const y = line.y[i];
      if (y !== null && (!log || y > 0)) parts.at(-1).push([x, y]);
      else if (parts.at(-1).length) parts.push([]);
    });
    return parts.filter((part) => part.length);
  }

  /* Returns the lowest and the highest value with a margin, never equal. */
  function range(values, fromZero, log) {
    let [low, high] = values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
    if (log) return low < high ? [low / 1.15, high * 1.15] : [low / 2, high * 2];
    if (fromZero) [low, high] = [Math.min(0, low), high > 0 ? high * 1.05 : 1];
    return low < high ? [low, high] : [low - 0.5, high + 0.5];
  }

  function ticks([low, high], count) {
    const raw = (high - low) / Math.max(2, Math.min(10, count));
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999) * power;
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(12)));
    return found;
  }

  function decades([low, high]) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const factor of high / low > 50 ? [1] : [1, 2, 5]) {
        const tick = Number((factor * 10 ** power).toPrecision(12));
        if (tick >= low && tick <= high) found.push(tick);
      }
    }
    return found.length > 1 ? found : ticks([low, high], 4).filter((tick) => tick > 0);
  }

  const short = (value) =>
    value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)
      ? value.toExponential().replace("e+", "e")
      : value.toLocaleString("en", { maximumSignificantDigits: 6 });
  const exact = (value) => value.toLocaleString("en", { maximumSignificantDigits: 5 });

  // ---- Elements ----------------------------------------------------------------------------------------------------

  function append(made, attributes, parent) {
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    parent.append(made);
    return made;
  }
  const element = (name, attributes, parent) => append(document.createElement(name), attributes, parent);
  const shape = (name, attributes, parent) =>
    append(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, parent);
  const style = (made, index) => made.style.setProperty("--colour", `var(--line-${index % COLOURS})`);
  function written(svg, text, attributes) {
    shape("text", attributes, svg).textContent = text;
  }

  gallery(data.clips);
  document.querySelectorAll(".chart").forEach((container, index) => chart(container, data.charts[index]));
})();
