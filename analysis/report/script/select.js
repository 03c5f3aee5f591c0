// Selecting runs without a drag: ranges typed above the figures, and a box in every row of the table of points.

const RANGES = { n: (run) => run.n[state.count], d: (run) => run.d, c: (run) => run.c, loss: (run) => shownLoss(run.loss) };
const fieldsOfRanges = () => Object.keys(RANGES).flatMap((name) => [control("least-" + name), control("most-" + name)]);
let ofRanges = null; // the selection that the ranges made
let written = null; // the selection that the rows show

// The runs inside all ranges that are typed; none if none is.
function pickByRanges() {
  const inside = [];
  for (const [name, of] of Object.entries(RANGES)) {
    for (const end of ["least", "most"]) {
      const field = control(`${end}-${name}`);
      const value = typed(field.value);
      const empty = field.value.trim() === "";
      field.setAttribute("aria-invalid", String(!empty && !(value > 0)));
      if (value > 0) inside.push((run) => (end === "least" ? of(run) >= value : of(run) <= value));
    }
  }
  ofRanges = inside.length ? data.runs.filter((run) => inside.every((holds) => holds(run))).map((run) => run.id) : [];
  change({ picked: ofRanges });
}

function listenToRanges() {
  for (const field of fieldsOfRanges()) field.addEventListener("change", pickByRanges);
  control("select").hidden = false;
}

// A box in the first cell of each run's row. The Tab key stops at one of them, arrows go on to the others.
function rowsSelectRuns() {
  for (const run of data.runs) {
    const box = element("input", "live-box");
    box.type = "checkbox";
    box.setAttribute("aria-label", `select ${run.rung}, seed ${run.seed}, ${si(run.d)} tokens`);
    box.dataset.run = run.id;
    box.addEventListener("change", () => setPicked([run.id], box.checked));
    rowOf(run.id)?.cells[0].prepend(box);
  }
  const first = document.querySelector(".live-box");
  const table = first?.closest("table");
  if (!table) return;
  table.classList.add("live-boxes");
  stopAt(first);
  table.addEventListener("keydown", walkBoxes);
  table.addEventListener("focusin", (event) => event.target.matches(".live-box") && stopAt(event.target));
  written = null;
  writePicked();
}

function stopAt(box) {
  for (const each of document.querySelectorAll(".live-box")) each.tabIndex = each === box ? 0 : -1;
}

// Arrows, Home and End go from row to row; with the shift key the rows on the way become as the first one is.
function walkBoxes(event) {
  if (!event.target.matches(".live-box")) return;
  const all = [...document.querySelectorAll(".live-box")];
  const here = all.indexOf(event.target);
  const next = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  if (!all[next]) return;
  if (event.shiftKey) {
    const passed = all.slice(Math.min(here, next), Math.max(here, next) + 1);
    setPicked(passed.map((box) => Number(box.dataset.run)), event.target.checked);
  }
  all[next].focus();
}

function setPicked(ids, on) {
  const others = state.picked.filter((id) => !ids.includes(id));
  change({ picked: on ? [...others, ...ids] : others });
}

function letRunsGo() {
  change({ picked: [] });
  control("drag").focus();
}

// For a view that is shown anew.
function forgetPicked() {
  ofRanges = null;
  written = null;
  control("picked-words").textContent = "";
}

// What is said of selected runs, aloud too; the rows and the ranges follow.
function writePicked() {
  if (!control("picked")) return;
  const runs = state.picked.map((id) => runById.get(id));
  const off = runs.map((run) => run.residual[state.law]).filter(given);
  const rms = Math.sqrt(off.reduce((sum, each) => sum + each ** 2, 0) / off.length);
  const law = off.length ? `, RMS ${rms.toFixed(2)} % off the law` : "";
  const counted = `${runs.length || "no"} ${runs.length === 1 ? "run" : "runs"} selected${law}`;
  // At first nothing is said; a selection that was let go is said to be.
  const words = runs.length || written?.length || control("picked-words").textContent ? counted : "";
  if (control("picked-words").textContent !== words) control("picked-words").textContent = words;
  control("let-go").hidden = runs.length === 0;
  if (written === state.picked) return;
  written = state.picked;
  const picked = new Set(state.picked);
  for (const run of data.runs) rowOf(run.id)?.classList.toggle("picked", picked.has(run.id));
  for (const box of document.querySelectorAll(".live-box")) box.checked = picked.has(Number(box.dataset.run));
  if (ofRanges === state.picked) return;
  for (const field of fieldsOfRanges()) {
    field.value = "";
    field.removeAttribute("aria-invalid");
  }
}
