"use strict";

// Tables: a click on a heading sorts by it, a second click turns the order round.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const numeric = head.dataset.sort === "number";
      const key = (row) => row.cells[column].dataset.key;
      const rank = numeric
        ? (a, b) => parseFloat(key(a)) - parseFloat(key(b))
        : (a, b) => key(a).localeCompare(key(b), undefined, { numeric: true });
      const rows = [...table.tBodies[0].rows].sort(rank);
      table.tBodies[0].append(...(descending ? rows.reverse() : rows));
    });
  });
}

// One column given another: two menus choose among shares that were computed beforehand.
for (const figure of document.querySelectorAll(".menus")) choose(figure);

function choose(figure) {
  const shares = JSON.parse(figure.querySelector(".shares").textContent);
  const [of, by, bars] = [".of", ".by", ".bars"].map((s) => figure.querySelector(s));
  for (const menu of [of, by])
    menu.append(...shares.columns.map((name, j) => new Option(name, j, false, j === (menu === by ? 1 : 0))));

  function row(name, values, high, alone) {
    const line = document.createElement("div"), label = document.createElement("span");
    label.textContent = name;
    line.append(label);
    values.forEach((share, at) => {
      const cell = document.createElement("i");
      cell.style.setProperty("--share", high ? share / high : 0);
      cell.style.setProperty("--alone", high ? alone[at] / high : 0);
      line.append(cell);
    });
    line.setAttribute("role", "img");
    const top = values.indexOf(Math.max(...values));
    line.setAttribute("aria-label", `${name}: most at ${shares.ticks[of.value][top]}, ${(100 * values[top]).toFixed(0)}%`);
    return line;
  }

  function render() {
    if (of.value === by.value) by.value = String((Number(of.value) + 1) % shares.columns.length);
    const alone = shares.alone[of.value], given = shares.given[of.value][by.value], ticks = shares.ticks[of.value];
    const high = Math.max(...alone, ...given.flat());
    const feet = document.createElement("div");
    feet.className = "ticks";
    feet.append(...[0, ticks.length >> 1, ticks.length - 1].map((at) => new Option(ticks[at]).textContent).map((text) => {
      const foot = document.createElement("small");
      foot.textContent = text;
      return foot;
    }));
    bars.replaceChildren(...shares.groups[by.value].map((name, k) => row(name, given[k], high, alone)), feet);
  }
  of.addEventListener("change", render);
  by.addEventListener("change", render);
  render();
}

// The journey from noise to data: frames of the same points, drawn on a canvas and blended in between.
const SECTORS = ["#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#0072b2", "#d55e00"]; // Okabe and Ito
for (const figure of document.querySelectorAll(".animation")) animate(figure);

function animate(figure) {
  const frames = JSON.parse(figure.querySelector(".frames").textContent);
  const [canvas, slider, output, play] = ["canvas", "input", "output", ".play"].map((s) => figure.querySelector(s));
  const last = frames.labels.length - 1;
  const side = 640, left = 64, low = 52; // of the canvas, in its own pixels, and the room for labels
  const scale = Math.min(window.devicePixelRatio || 1, 2);
  canvas.width = canvas.height = side * scale;
  const draw = canvas.getContext("2d");
  draw.scale(scale, scale);
  const across = (v) => left + ((side - left - 8) * v) / 1000;
  const up = (v) => side - low - ((side - low - 8) * v) / 1000;
  let shades = null;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Each density becomes a small picture whose opacity is the density's square root.
  function shade(text) {
    const picture = document.createElement("canvas");
    picture.width = picture.height = frames.grid;
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const brush = picture.getContext("2d");
    brush.fillStyle = colour("--data");
    brush.fillRect(0, 0, frames.grid, frames.grid);
    const image = brush.getImageData(0, 0, frames.grid, frames.grid);
    bytes.forEach((value, i) => (image.data[4 * i + 3] = 0.5 * value));
    brush.putImageData(image, 0, 0);
    return picture;
  }

  function render() {
    const at = (slider.value / 1000) * last, k = Math.min(Math.floor(at), Math.max(last - 1, 0)), part = at - k;
    const [before, after] = [frames.points[k], frames.points[Math.min(k + 1, last)]];
    draw.clearRect(0, 0, side, side);
    draw.save();
    draw.beginPath();
    draw.rect(across(0), up(1000), across(1000) - across(0), up(0) - up(1000));
    draw.clip();
    for (const [shadeOf, weight] of [[k, 1 - part], [Math.min(k + 1, last), part]]) {
      if (!shades || weight === 0) continue;
      draw.globalAlpha = weight;
      draw.drawImage(shades[shadeOf], across(0), up(1000), across(1000) - across(0), up(0) - up(1000));
    }
    draw.globalAlpha = 0.85;
    frames.hues.forEach((hue, i) => {
      draw.fillStyle = SECTORS[hue];
      draw.beginPath();
      const x = before[2 * i] * (1 - part) + after[2 * i] * part;
      const y = before[2 * i + 1] * (1 - part) + after[2 * i + 1] * part;
      draw.arc(across(x), up(y), 2.6, 0, 2 * Math.PI);
      draw.fill();
    });
    draw.restore();
    axes();
    output.textContent = frames.labels[Math.round(at)];
    slider.setAttribute("aria-valuetext", output.textContent);
  }

  function axes() {
    draw.strokeStyle = draw.fillStyle = colour("--ink");
    draw.font = `15px ${getComputedStyle(document.body).fontFamily}`;
    draw.lineWidth = 1;
    draw.strokeRect(across(0), up(1000), across(1000) - across(0), up(0) - up(1000));
    draw.textAlign = "center";
    for (const [v, text] of frames.ticks[0]) draw.fillText(text, across(v), side - low + 18);
    draw.fillText(short(frames.columns[0]), across(500), side - low + 42);
    draw.textAlign = "right";
    for (const [v, text] of frames.ticks[1]) draw.fillText(text, left - 6, up(v) + 5);
    draw.save();
    draw.translate(16, up(500));
    draw.rotate(-Math.PI / 2);
    draw.textAlign = "center";
    draw.fillText(short(frames.columns[1]), 0, 0);
    draw.restore();
  }

  const short = (text) => (text.length > 48 ? text.slice(0, 47) + "…" : text);

  let started = null;
  function step(now) {
    if (started === null) return;
    const share = Math.min((now - started.time) / 6000, 1);
    slider.value = started.from + (1000 - started.from) * share;
    render();
    if (share < 1) requestAnimationFrame(step);
    else stop();
  }
  function stop() {
    started = null;
    play.textContent = "Play";
  }
  play.addEventListener("click", () => {
    if (started) return stop();
    started = { time: performance.now(), from: Number(slider.value) >= 1000 ? 0 : Number(slider.value) };
    play.textContent = "Pause";
    requestAnimationFrame(step);
  });
  slider.addEventListener("input", () => {
    stop();
    render();
  });
  function restyle() {
    shades = frames.densities && frames.densities.map(shade);
    render();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
  restyle();
}
