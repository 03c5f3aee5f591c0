// The state of the page, its controls, and what follows from a change.

const FIRST_SHARE = 0.5; // of training, from which ends are forecast
const state = {
  law: 0,
  unit: "nats",
  linear: false,
  hidden: [],
  lit: null,
  picked: [],
  drag: "zoom", // or "pick"
  count: 0,
  curve: data.curves.first,
  forecast: data.forecast.length ? FIRST_SHARE : null,
  name: "c", // what is given: compute, size, tokens, device-hours or their cost
  value: data.largest,
  speed: data.speed, // FLOP/s of one device
  price: null, // of one device for an hour
  inference: null, // tokens after training
  answer: null,
  need: null, // the cheapest run of that loss with inference; undefined without any
  figures: {}, // parts that are switched and ranges that are enlarged, as the address had them
  chosen: {}, // options of the lists above figures
};
const first = { ...state };
const UNIT_WORDS = { nats: "nats", bits: "bits per byte", perplexity: "perplexity" };
const control = (name) => document.getElementById("live-" + name);

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function shownLoss(loss) {
  if (!given(loss)) return loss;
  return state.unit === "bits" ? loss * data.bits_per_nat : state.unit === "perplexity" ? Math.exp(loss) : loss;
}

function change(changed) {
  const before = { ...state };
  Object.assign(state, changed);
  if (data.laws.length) answerBudget(before);
  if (state.linear !== before.linear) rebuild();
  else {
    if (state.law !== before.law) followLaw();
    if (state.curve !== before.curve) redrawCurves();
    tell(sharedSignals());
  }
  for (const button of document.querySelectorAll(".live-toggle[data-rung]"))
    button.setAttribute("aria-pressed", String(!state.hidden.includes(button.dataset.rung)));
  writePicked();
  writeDrag();
  writeCurveControls();
  remember();
}

// The view as the fragment of the address, so that it can be sent.
function remember() {
  const kept = new URLSearchParams();
  const keep = (name, value, usual) => value !== usual && kept.set(name, value ?? "");
  if (state.law) kept.set("law", data.laws[state.law]);
  keep("unit", state.unit, "nats");
  if (state.linear) kept.set("axes", "linear");
  keep("hide", state.hidden.join(","), "");
  keep("count", data.counts[state.count], data.counts[0]);
  keep("curve", state.curve, data.curves.first);
  keep("forecast", state.forecast, data.forecast.length ? FIRST_SHARE : null);
  keep("drag", state.drag, "zoom");
  keep("pick", state.picked.join(","), "");
  for (const name of ["speed", "price", "inference"]) {
    if (given(state[name]) && state[name] !== data[name]) kept.set(name, significant(state[name], 6));
  }
  if (state.answer && (state.name !== "c" || state.value !== data.largest)) kept.set(state.name, significant(state.value, 6));
  const { parts, zooms } = figuresAsText();
  keep("parts", parts, "");
  keep("zoom", zooms, "");
  rememberChoices(kept);
  rememberSeveral(kept);
  const fragment = kept.toString();
  const before = location.hash.includes("=") ? location.hash : "";
  if (fragment || before) history.replaceState(null, "", "#" + fragment);
}

function figuresAsText() {
  const parts = [];
  const zooms = [];
  for (const [name, one] of views) {
    parts.push(...[...one.switched].map((series) => `${name}.${series}`));
    one.shown.forEach((shown, i) => {
      for (const axis of ["x", "y"]) {
        const ends = shown.get(axis + "_zoom");
        if (ends) zooms.push([name, i, axis, ...ends.map((end) => significant(end, 5))].join("~"));
      }
    });
  }
  return { parts: parts.join(","), zooms: zooms.join(",") };
}

// Figures that an address names, as `place` takes them; what is no figure, part or range does nothing.
function figuresOf(kept) {
  const found = {};
  const figure = (name) => (found[name] ??= { parts: [], zooms: [] });
  const parts = (name) => (kept.get(name) ?? "").split(",").filter(Boolean);
  for (const each of parts("parts")) {
    const [name, series] = each.split(".");
    if (name in data.charts) figure(name).parts.push(series);
  }
  for (const each of parts("zoom")) {
    const [name, i, axis, ...ends] = each.split("~");
    const values = ends.map(Number);
    if (!(name in data.charts) || !/^[xy]$/.test(axis) || !/^\d$/.test(i)) continue;
    if (values.length !== 2 || !values.every(Number.isFinite) || !(values[0] < values[1])) continue;
    (figure(name).zooms[i] ??= {})[axis + "_zoom"] = values;
  }
  return found;
}

function recall() {
  if (!location.hash.includes("=")) return {};
  const kept = new URLSearchParams(location.hash.slice(1));
  const found = { figures: figuresOf(kept), chosen: firstChoices(kept) };
  const law = data.laws.indexOf(kept.get("law"));
  if (law > 0) found.law = law;
  if (kept.get("unit") in UNIT_WORDS && (kept.get("unit") !== "bits" || data.bits_per_nat)) found.unit = kept.get("unit");
  if (kept.get("axes") === "linear") found.linear = true;
  const rungs = new Set(data.runs.map((run) => run.rung));
  if (kept.has("hide")) found.hidden = kept.get("hide").split(",").filter((rung) => rungs.has(rung));
  const count = data.counts.indexOf(kept.get("count"));
  if (count > 0) found.count = count;
  if (data.curves.kinds.includes(kept.get("curve"))) found.curve = kept.get("curve");
  const share = Number(kept.get("forecast"));
  if (kept.get("forecast") === "") found.forecast = null;
  else if (data.forecast.some((each) => each.share === share)) found.forecast = share;
  if (kept.get("drag") === "pick") found.drag = "pick";
  if (kept.has("pick")) found.picked = kept.get("pick").split(",").map(Number).filter((id) => runById.has(id));
  for (const name of ["speed", "price", "inference", "c", "n", "d", "hours", "cost"]) {
    const value = Number(kept.get(name));
    if (!data.laws.length || !(value > 0) || !Number.isFinite(value)) continue;
    Object.assign(found, name in state ? { [name]: value } : { name, value });
  }
  return found;
}

// Brings the state to what the address says, and all controls to the state.
function takeAddress() {
  Object.assign(state, first, { chosen: firstChoices() }, recall());
  if (data.laws.length) answerBudget({ ...state, answer: answerOf(data.frontier[state.law], "c", data.largest) });
  if (several) answerSeveral();
  for (const name of ["law", "unit", "drag", "count"]) if (control(name)) control(name).value = state[name];
  control("linear").checked = state.linear;
}

// A view that is pasted into the address of an open page is shown as if the page were opened with it.
function showAddress() {
  if (!location.hash.includes("=")) return;
  pinned = UNPINNED;
  light(null);
  hideCard();
  takeAddress();
  if (data.laws.length) writeTyped();
  if (control("picked")) forgetPicked();
  for (const [name, one] of views) {
    Object.assign(one, asAddressed(name, one.charts));
    if (one.charts[0].usermeta.card) refill(name);
    else one.figure.querySelector(".live-legend").replaceWith(legendOf(name, one));
    if (one.visible) show(name);
    else forget(one);
  }
  writePicked();
  writeDrag();
  writeCurveControls();
  if (several) writeSeveral();
}

function start() {
  if (!Object.keys(data.charts).length) return;
  takeAddress();
  window.addEventListener("hashchange", showAddress);
  if (data.laws.length) listenToBudget();
  if (control("unit")) control("unit").addEventListener("change", (event) => change({ unit: event.target.value }));
  control("linear").addEventListener("change", (event) => change({ linear: event.target.checked }));
  if (control("drag")) {
    control("drag").addEventListener("change", (event) => change({ drag: event.target.value }));
    control("let-go").addEventListener("click", letRunsGo);
    listenToRanges();
  }
  control("count")?.addEventListener("change", (event) => change({ count: Number(event.target.value) }));
  if (several) startSeveral();
  control("bar").hidden = false;
  if (!data.charts.overview) return;
  place("overview", data.charts.overview);
  show("overview");
  writePicked();
}

// What lies below the script in the page.
function startBelow() {
  for (const [name, charts] of Object.entries(data.charts)) if (name !== "overview") place(name, charts);
  for (const [name, charts] of Object.entries(data.charts)) if (charts[0].usermeta.card) choose(name);
  toolsOfTables();
  toolsOfFigures();
  rowsLightRuns();
  if (control("picked")) rowsSelectRuns();
  writeDrag();
}
