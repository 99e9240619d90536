// A form of a row, and what the model says of it: all by the paths that programs use.
"use strict";

const byId = (id) => document.getElementById(id);
const GRID = 61; // points of a curve, twice
const DAY = 86400;
let columns = [];
let info = {};

function make(name, attributes = {}, text = "", parent = null) {
  const svg = ["path", "line", "rect", "text"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

let token = sessionStorage.getItem("token");

async function ask(path, body) {
  const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
  const answer = await fetch(path, body ? { method: "POST", body: JSON.stringify(body), headers } : { headers });
  const found = await answer.json();
  if (answer.status === 401 && (token = prompt("The token of this server:"))) {
    sessionStorage.setItem("token", token);
    return ask(path, body);
  }
  if (!answer.ok) throw new Error(found.detail);
  return found;
}

// Only the latest question is worth an answer: while one is out, others replace each other.
function latest(work) {
  let busy = false, again = false;
  return async function run() {
    if (busy) { again = true; return; }
    busy = true;
    do { again = false; await work(); } while (again);
    busy = false;
  };
}

// Numbers of a slider and cells of JSON: days and seconds stand for dates and times.
const NUMBERS = {
  Date: [(number) => new Date(number * DAY * 1e3).toISOString().slice(0, 10), (cell) => Date.parse(cell) / DAY / 1e3],
  Datetime: [
    (number) => new Date(number * 1e3).toISOString().slice(0, 19),
    (cell) => Date.parse(`${cell}Z`) / 1e3,
  ],
  Time: [
    (number) => new Date(Math.min(number, DAY - 1) * 1e3).toISOString().slice(11, 19),
    (cell) => Date.parse(`1970-01-01T${cell}Z`) / 1e3,
  ],
};
const isMoment = (column) => column.contents in NUMBERS;
const isNamed = (column) => column.categories.length > 0;
const cellOf = (column, number) => (isMoment(column) ? NUMBERS[column.contents][0](number) : number);
const numberOf = (column, cell) => (isMoment(column) ? NUMBERS[column.contents][1](cell) : Number(cell));
const shown = (value) => (typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value ?? "–"));

function named(column, text) { // a category as a cell of JSON
  return column.contents === "truth" ? text === "true" : column.contents === "values" ? Number(text) : text;
}

function stepOf(column) {
  const step = column.step || (column.integer ? 1 : 0);
  return step || (isMoment(column) ? 1 : Number(((column.maximum - column.minimum) / 200).toPrecision(1)) || "any");
}

function makeCell(column, j) {
  const cell = make("div", { class: "cell" }, "", byId("cells"));
  const top = make("div", { class: "top" }, "", cell);
  const known = make("input", { type: "checkbox", id: `known-${j}`, "aria-label": `${column.name} is known` });
  known.checked = true;
  known.disabled = column.role === "given";
  const label = make("label", { for: `value-${j}` }, column.name);
  top.append(known, label);
  let value, slider = null;
  if (isNamed(column)) {
    value = make("select", { id: `value-${j}`, class: "value" }, "", top);
    for (const name of column.categories) make("option", { value: name }, name, value);
    value.value = column.categories[column.shares.indexOf(Math.max(...column.shares))] ?? column.categories[0];
  } else {
    const [middle, step] = [column.quantiles[4], stepOf(column)];
    const rounded = step === "any" ? middle : Number((Math.round(middle / step) * step).toPrecision(12));
    const range = { min: column.minimum, max: column.maximum, step: isMoment(column) ? 1 : "any" };
    value = make("input", { type: isMoment(column) ? "text" : "number", step: "any", id: `value-${j}`, class: "value" }, "", top);
    value.value = cellOf(column, rounded);
    slider = make("input", { type: "range", ...range, "aria-label": `${column.name}, slider` }, "", cell);
    slider.value = rounded;
    slider.addEventListener("input", () => {
      const at = step === "any" ? slider.valueAsNumber : Math.round(slider.valueAsNumber / step) * step;
      value.value = cellOf(column, Number(at.toPrecision(12)));
      known.checked = true;
      changed();
    });
    value.addEventListener("input", () => { slider.value = numberOf(column, value.value); });
  }
  for (const control of [known, value]) control.addEventListener("input", changed);
  return Object.assign(column, { cell, known, value });
}

function readCell(column) {
  if (isNamed(column)) return named(column, column.value.value);
  if (isMoment(column) || column.value.value === "") return column.value.value || null;
  return Number(column.value.value);
}

function row(without = null) {
  const kept = columns.filter((column) => column.known.checked && column.name !== without && readCell(column) !== null);
  return Object.fromEntries(kept.map((column) => [column.name, readCell(column)]));
}

function say(element, text, wrong = false) {
  element.textContent = text;
  element.classList.toggle("wrong", wrong);
}

const score = latest(async () => {
  try {
    const found = await ask("score", { rows: [row()] });
    const [value, percentile] = [found.log_density[0], found.percentile[0]];
    const place = percentile === null ? "" : `; ${percentile.toFixed(1)} % of ${info.percentiles_among} are no likelier`;
    say(byId("score"), value === null ? "the model has no density there" : `log-density ${value.toFixed(3)} nats${place}`);
  } catch (error) { say(byId("score"), error.message, true); }
});

function gridOf(column) {
  if (isNamed(column)) return column.categories.map((name) => ({ cell: named(column, name), at: 0, label: name }));
  const [low, high] = [column.minimum, column.maximum], step = column.step || (column.integer ? 1 : 0);
  const ats = [];
  for (let j = 0; j < GRID; j++) { // half of them evenly, half where the rows are
    const share = (j / (GRID - 1)) * (column.quantiles.length - 1), k = Math.min(Math.floor(share), column.quantiles.length - 2);
    const [left, right] = [column.quantiles[k], column.quantiles[k + 1]];
    ats.push(low + ((high - low) * j) / (GRID - 1), left + (right - left) * (share - k));
  }
  const snapped = ats.map((at) => (step ? Number((low + Math.round((at - low) / step) * step).toPrecision(12)) : at));
  const grid = [...new Set(snapped)].sort((a, b) => a - b).map((at) => ({ at, cell: cellOf(column, at) }));
  return grid.map((point) => ({ ...point, label: shown(point.cell) })).filter((point, j) => j === 0 || point.cell !== grid[j - 1].cell);
}

const density = latest(async () => {
  const column = columns.find((one) => one.name === byId("column").value);
  if (!column) return;
  const others = row(column.name), grid = gridOf(column);
  try {
    const found = await ask("score", { rows: grid.map((point) => ({ ...others, [column.name]: point.cell })) });
    const logs = found.log_density.map((value) => value ?? -Infinity), top = Math.max(...logs);
    if (!Number.isFinite(top)) throw new Error("the model has no density where the other cells are");
    draw(column, grid, logs.map((value) => Math.exp(value - top)));
    const given = Object.keys(others).length;
    say(byId("density-says"), `p(${column.name} | ${given === 1 ? "one other cell" : `${given} other cells`}), up to a constant`);
  } catch (error) { say(byId("density-says"), error.message, true); }
});

function draw(column, grid, heights) {
  const svg = byId("density"), [left, right, base, top] = [20, 620, 222, 16];
  svg.replaceChildren();
  const [low, high] = isNamed(column) ? [0, grid.length] : [grid[0].at, grid[grid.length - 1].at];
  const x = (at) => left + ((at - low) / (high - low || 1)) * (right - left), y = (height) => base - height * (base - top);
  make("line", { class: "axis", x1: left, x2: right, y1: base, y2: base }, "", svg);
  if (isNamed(column)) {
    const width = (right - left) / grid.length;
    const total = heights.reduce((sum, height) => sum + height, 0);
    grid.forEach((point, j) => {
      make("rect", { class: "bar", x: x(j) + 0.1 * width, width: 0.8 * width, y: y(heights[j]), height: base - y(heights[j]) }, "", svg);
      const share = `${point.label} ${((100 * heights[j]) / total).toFixed(grid.length > 6 ? 0 : 1)} %`;
      if (grid.length <= 12) make("text", { x: x(j + 0.5), y: base + 20, "text-anchor": "middle" }, share, svg);
    });
  } else {
    const points = grid.map((point, j) => `${x(point.at).toFixed(1)},${y(heights[j]).toFixed(1)}`).join("L");
    make("path", { class: "area", d: `M${left},${base}L${points}L${right},${base}Z` }, "", svg);
    make("path", { class: "curve", d: `M${points}` }, "", svg);
    [0, 0.5, 1].forEach((share) => {
      const anchor = ["start", "middle", "end"][2 * share], at = low + share * (high - low);
      make("text", { x: x(at), y: base + 20, "text-anchor": anchor }, shown(cellOf(column, at)), svg);
    });
    const here = numberOf(column, column.value.value);
    if (column.known.checked && here >= low && here <= high) make("line", { class: "here", x1: x(here), x2: x(here), y1: top, y2: base }, "", svg);
  }
  const mode = grid[heights.indexOf(Math.max(...heights))].label;
  svg.setAttribute("aria-label", `Density of ${column.name} given the other cells, highest at ${mode}`);
}

function table(rows, drawn) {
  const element = byId("draws");
  element.replaceChildren();
  const names = Object.keys(rows[0]), head = make("tr", {}, "", make("thead", {}, "", element));
  names.forEach((name) => make("th", { scope: "col" }, name, head));
  const body = make("tbody", {}, "", element);
  for (const one of rows) {
    const line = make("tr", {}, "", body);
    names.forEach((name) => make("td", drawn.has(name) ? { class: "drawn" } : {}, shown(one[name]), line));
  }
}

async function show(path, body, drawn, says) {
  say(byId("draws-say"), "…");
  try {
    const rows = (await ask(path, body)).rows;
    table(rows, drawn);
    say(byId("draws-say"), says(rows));
  } catch (error) { say(byId("draws-say"), error.message, true); }
}

const unknown = () => new Set(columns.map((column) => column.name).filter((name) => !(name in row())));
const count = () => Math.max(1, byId("n").valueAsNumber || 1);

byId("draw").addEventListener("click", () => {
  const given = Object.keys(row()).length === columns.length ? {} : row();
  const wanted = Object.keys(given).length || !columns.some((column) => column.role === "given") ? given : row();
  const drawn = new Set(columns.map((column) => column.name).filter((name) => !(name in wanted)));
  show("sample", { n: count(), given: wanted }, drawn, (rows) => {
    const cells = Object.keys(wanted).length;
    return `${rows.length} rows drawn, ${cells ? `given ${cells} cells` : "given nothing: untick cells to keep the others"}`;
  });
});
byId("fill").addEventListener("click", () => {
  const holed = Object.fromEntries([...unknown()].map((name) => [name, null]));
  if (!Object.keys(holed).length) { say(byId("draws-say"), "nothing is missing: untick a cell first", true); return; }
  show("impute", { rows: [{ ...row(), ...holed }], draws: count() }, unknown(), (rows) =>
    `${rows.length} fillings of ${Object.keys(holed).length} missing cells`);
});
byId("explain").addEventListener("click", () => show("explain", { rows: [row()] }, new Set(), ([found]) =>
  [`${found.unlikely_because}: ${shown(found.would_fit)}`, ...(found.also_unlikely ? [found.also_unlikely] : [])].join(", ") +
  ` would make the row less odd by ${shown(found.gain)} nats`));
byId("ask").addEventListener("click", async () => {
  const where = byId("where").value.trim(), given = Object.entries(row()).filter(([name]) => !where.includes(name));
  try {
    const found = await ask("ask", { where, given: Object.fromEntries(given) });
    const error = found.standard_error ? ` ± ${found.standard_error.toPrecision(2)}` : "";
    const asked = `P(${where} | ${given.length} cells) = ${shown(found.probability)}${error}`;
    say(byId("answer"), [asked, ...found.notes].join("; "));
  } catch (error) { say(byId("answer"), error.message, true); }
});
byId("predict").addEventListener("click", async () => {
  const column = columns.find((one) => one.name === byId("column").value), rows = [row(column.name)];
  const told = (kind) => ask("predict", { rows, column: column.name, kind });
  try {
    const found = await told(isNamed(column) ? "mode" : "median"), best = shown(found.rows[0][column.name]);
    if (found.notes.length) { say(byId("density-says"), found.notes.join("; ")); return; }
    if (isNamed(column)) { say(byId("density-says"), `${column.name}: most likely ${best}`); return; }
    const { low, high } = (await told("interval")).rows[0];
    say(byId("density-says"), `${column.name}: ${best}; in 9 of 10 such rows from ${shown(low)} to ${shown(high)}`);
  } catch (error) { say(byId("density-says"), error.message, true); }
});
byId("column").addEventListener("input", () => density());
byId("row").addEventListener("submit", (event) => event.preventDefault());

function changed() {
  for (const column of columns) column.cell.classList.toggle("unknown", !column.known.checked);
  const body = JSON.stringify({ rows: [row()] }).replaceAll("'", "'\\''");
  byId("program").textContent = `curl ${location.origin}/score -H 'content-type: application/json' -d '${body}'`;
  return Promise.all([score(), density()]);
}

async function start() {
  info = await ask("info");
  document.title = `${info.model}: pushforward`;
  byId("model").textContent = info.model;
  const fitted = info.training_rows ? `, fitted to ${info.training_rows.toLocaleString("en")} rows of ${info.columns.length} columns` : "";
  byId("facts").textContent = `${info.flow}${fitted}`;
  columns = info.columns.filter((column) => column.role !== "follows").map(makeCell);
  for (const column of columns.filter((one) => one.role === "modelled")) make("option", { value: column.name }, column.name, byId("column"));
  await changed();
}
start().catch((error) => say(byId("facts"), error.message, true));
