"use strict";
const darkly = window.matchMedia("(prefers-color-scheme: dark)");
const views = {};
let shown = 0;

// Colours stand in the charts by name; the page's theme says which they are.
function painted(value, palette) {
  if (Array.isArray(value)) return value.map((item) => painted(item, palette));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, k === "values" ? v : painted(v, palette)]));
  }
  return typeof value === "string" && value in palette ? palette[value] : value;
}

async function draw(palette, theme) {
  for (const place of document.querySelectorAll("[data-chart]")) {
    const name = place.dataset.chart;
    if (views[name]) views[name].finalize();
    const narrow = place.clientWidth < 520;
    const spec = painted(SPECS[name], palette);
    // The names of parts are long: two of them do not fit beside each other on a phone.
    spec.config.legend.columns = narrow ? (name === "breakdown" ? 1 : 2) : 6;
    spec.config.legend.layout = { top: { direction: narrow ? "vertical" : "horizontal", margin: 16 } };
    if (narrow) spec.config.axis.labelFontSize = 11;
    const result = await vegaEmbed(place, spec, {
      actions: false, renderer: "svg", tooltip: { theme: theme },
    });
    place.querySelector("svg")?.setAttribute("aria-hidden", "true");
    views[name] = result.view;
  }
  show(shown);
}

function show(index) {
  shown = index;
  for (const element of document.querySelectorAll("[data-condition]")) {
    element.hidden = Number(element.dataset.condition) !== index;
  }
  for (const view of Object.values(views)) {
    if ("condition" in view.getState().signals) view.signal("condition", index).runAsync();
  }
}

function redraw() {
  return draw(darkly.matches ? DARK : LIGHT, darkly.matches ? "dark" : "light");
}

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, at) => {
    const cell = row.cells[at];
    if (!cell) return "";
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = Number.parseFloat(text);
    return Number.isNaN(number) || text === "" ? text : number;
  };
  heads.forEach((head, at) => {
    head.tabIndex = 0;
    const sort = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const x = value(a, at), y = value(b, at);
        // Cells without a number stay at the end, whichever way the rest is sorted.
        if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1;
        const order = typeof x === "number" ? x - y : x.localeCompare(y);
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows);
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
}

document.querySelectorAll("table.sortable").forEach(sortable);
document.getElementById("condition")?.addEventListener("change", (event) => show(Number(event.target.value)));
darkly.addEventListener("change", redraw);
// Paper is white, whatever the screen was.
window.addEventListener("beforeprint", () => { if (darkly.matches) draw(LIGHT, "light"); });
window.addEventListener("afterprint", () => { if (darkly.matches) redraw(); });
show(0);
redraw();
