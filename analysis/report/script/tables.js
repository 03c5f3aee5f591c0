// Tables that sort by a click on a heading, and downloads of tables and figures.

const RAISED_SIGNS = new Map([...RAISED].map((sign, digit) => [sign, String(digit)]));

// The number that a cell begins with; NaN for words.
function numberOf(text) {
  const found = /^[+−-]?[\d.,]*(?:×?10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?\s*([kMBT](?![a-z]))?/.exec(text.trim());
  if (!found || !/\d/.test(found[0])) return NaN;
  const power = found[1] ? Number([...found[1]].map((sign) => RAISED_SIGNS.get(sign) ?? "-").join("")) : 0;
  const lead = found[0].replace(/×?10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+.*/, "").replace(/[kMBT\s,]/g, "").replace("−", "-");
  const size = { k: 1e3, M: 1e6, B: 1e9, T: 1e12 }[found[2]] ?? 1;
  return (lead === "" || lead === "-" ? Number(lead + "1") : Number(lead)) * 10 ** power * size;
}

// Rows that belong together: a body of several, or a row with those that go on with it, whose first cell is
// empty or that of the row above.
function unitsOf(table) {
  const bodies = [...table.tBodies];
  if (bodies.length > 1) return bodies.map((body) => [...body.rows]);
  const units = [];
  let covered = 0;
  for (const row of bodies[0].rows) {
    const goesOn = covered > 0 || row.cells[0].textContent.trim() === "";
    if (goesOn && units.length) units[units.length - 1].push(row);
    else units.push([row]);
    covered = Math.max(covered - 1, row.cells[0].rowSpan - 1);
  }
  return units;
}

// The cell of a row in a column; cells may be several columns wide.
function cellIn(row, column) {
  let place = 0;
  for (const cell of row.cells) {
    place += cell.colSpan;
    if (place > column) return cell;
  }
  return null;
}

function sortBy(table, heading, column) {
  const rising = heading.getAttribute("aria-sort") !== "ascending";
  const units = unitsOf(table).map((rows) => {
    const text = cellIn(rows[0], column)?.textContent.trim() ?? "";
    return { rows, text, value: numberOf(text) };
  });
  const sign = rising ? 1 : -1;
  units.sort((one, other) => {
    const missing = Number(Number.isNaN(one.value)) - Number(Number.isNaN(other.value));
    if (missing) return missing;
    if (Number.isNaN(one.value)) return sign * one.text.localeCompare(other.text);
    return sign * (one.value - other.value);
  });
  const several = table.tBodies.length > 1;
  if (several) table.append(...units.map((unit) => unit.rows[0].parentElement));
  else table.tBodies[0].append(...units.flatMap((unit) => unit.rows));
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
}

function makeSortable(table) {
  let place = 0;
  for (const heading of table.tHead.rows[0].cells) {
    const column = place;
    place += heading.colSpan;
    if (!heading.textContent.trim()) continue;
    const button = element("button", "live-sort");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sortBy(table, heading, column));
  }
}

const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
const plainText = (cell) => cell.innerText.replace(/\s+/g, " ").trim();

// One line a row; rows of a body of several are one line.
function csvOf(table) {
  const head = [...(table.tHead?.rows ?? [])].map((row) => [row]);
  const bodies = table.tBodies.length > 1 ? unitsOf(table) : [...table.tBodies[0].rows].map((row) => [row]);
  const cells = (rows) => rows.flatMap((row) => [...row.cells]);
  return [...head, ...bodies].map((rows) => cells(rows).map((cell) => quoted(plainText(cell))).join(",")).join("\n") + "\n";
}

// Name of a file after the heading that a table or a figure stands under.
function nameBefore(node) {
  const headings = [...document.querySelectorAll("h2, h3")];
  const above = headings.filter((each) => each.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING);
  const text = above.length ? above[above.length - 1].textContent : document.title;
  return text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 60);
}

function save(name, content, type) {
  const link = element("a");
  link.download = name;
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function saveButton(label, title, act) {
  const button = element("button", "live-save", label);
  button.type = "button";
  button.title = title;
  button.addEventListener("click", act);
  return button;
}

function toolsOfTables() {
  for (const table of document.querySelectorAll(".scroll > table")) {
    if (!table.tBodies[0]) continue;
    if (table.tHead && unitsOf(table).length > 1) makeSortable(table);
    const tools = element("div", "live-tools");
    const named = () => save(`${nameBefore(table)}.csv`, csvOf(table), "text/csv");
    tools.append(saveButton("CSV", "Save this table as CSV", named));
    table.parentElement.after(tools);
  }
}

async function svgOf(figure) {
  const name = figure.id.replace("figure-", "");
  const drawn = views.get(name)?.drawn ?? [];
  if (drawn.length) return Promise.all(drawn.map((view) => view.toSVG()));
  const svg = figure.querySelector(".plot svg").cloneNode(true);
  return [new XMLSerializer().serializeToString(svg)];
}

const part = (i, n) => (n > 1 ? `-${i + 1}` : "");

// A static figure is drawn at twice its size, on white.
function pictureOf(svg) {
  const box = svg.viewBox.baseVal;
  const picture = new Image();
  const canvas = element("canvas");
  Object.assign(canvas, { width: 2 * box.width, height: 2 * box.height });
  picture.onload = () => {
    const paper = canvas.getContext("2d");
    paper.fillStyle = "white";
    paper.fillRect(0, 0, canvas.width, canvas.height);
    paper.drawImage(picture, 0, 0, canvas.width, canvas.height);
    canvas.toBlob((found) => save(`${nameOf(svg)}.png`, found, "image/png"));
  };
  picture.src = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }));
}

const nameOf = (part) => part.closest("figure").id.replace("figure-", "");

async function savePictures(name) {
  const drawn = views.get(name)?.drawn ?? [];
  if (!drawn.length) pictureOf(document.querySelector(`#figure-${CSS.escape(name)} .plot svg`));
  for (const [i, view] of drawn.entries()) {
    const canvas = await view.toCanvas(2);
    canvas.toBlob((picture) => save(`${name}${part(i, drawn.length)}.png`, picture, "image/png"));
  }
}

function toolsOfFigures() {
  for (const figure of document.querySelectorAll('figure[id^="figure-"]')) {
    const name = figure.id.replace("figure-", "");
    const tools = element("div", "live-tools");
    figure.querySelector("figcaption").before(tools);
    tools.append(
      saveButton("PNG", "Save this figure as PNG", () => savePictures(name)),
      saveButton("SVG", "Save this figure as SVG", async () => {
        const found = await svgOf(figure);
        found.forEach((svg, i) => save(`${name}${part(i, found.length)}.svg`, svg, "image/svg+xml"));
      }),
    );
  }
}

function rowsLightRuns() {
  for (const run of data.runs) {
    const row = rowOf(run.id);
    row?.addEventListener("pointerenter", () => pinned === UNPINNED && light(run.id));
    row?.addEventListener("pointerleave", () => pinned === UNPINNED && light(null));
  }
}

// The script stands before most of the page, so that the first figure is not kept waiting.
start();
performance.mark("first figure");
document.addEventListener("DOMContentLoaded", startBelow);
