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
