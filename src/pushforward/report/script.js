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
