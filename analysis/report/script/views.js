// Vega views in the place of static figures, made when they come into sight, and what they have in common.

const views = new Map(); // name of a figure: its views with their elements
const UNPINNED = null;
let pinned = UNPINNED;

if (Object.keys(data.charts).length) {
  vega.expressionFunction("ticks", ticks);
  vega.expressionFunction("si", (value) => si(value));
  vega.expressionFunction("flops", (value) => flops(value));
  for (const spell of [figures, share, times]) vega.expressionFunction(spell.name, (value) => spell(value));
  vega.expressionFunction("counted", counted);
  vega.expressionFunction("among", among);
  vega.expressionFunction("several_at", severalAt);
  const ofSurface = { loss_at: lossAt, cost_of: costOf, surface_of: surfaceOf, n_of: nOf, d_of: dOf, end_of: endOf, turn_of: turnOf, levels };
  for (const [name, of] of Object.entries(ofSurface)) vega.expressionFunction(name, of);
}

const runById = new Map(data.runs.map((run) => [run.id, run]));

// The runs of a point, and whether one of them is in a list.
function runsOfPoint(row) {
  return row.runs ?? [row.id];
}

function among(row, ids) {
  return runsOfPoint(row).some((id) => ids.includes(id));
}

// A size of the first count under another one, and back.
function counted(n, count) {
  return count && given(n) ? carriedOn(data.sizes[0], data.sizes[count], n) : n;
}

const shownSize = (n) => counted(n, state.count);
const typedSize = (n) => (state.count ? carriedOn(data.sizes[state.count], data.sizes[0], n) : n);

function rowsOf(name) {
  if (data.rows && name in data.rows) return sectionRows(name);
  if (name === "contours") return [{}];
  if (name === "costs") return surface.n.map((n, i) => ({ n, per_token: surface.per_token[i] }));
  if (name === "curves" || name === "others") return curveRows(name === "curves");
  if (name !== "frontier") return data[name].map((row) => ({ ...row }));
  return data.frontier.flatMap((columns, law) =>
    columns.c.map((_, i) => {
      const row = { law };
      for (const field of Object.keys(columns)) row[field] = columns[field][i];
      for (const field of Object.keys(data.rule[0])) row[field] = data.rule.map((rule) => rule[field][i]);
      return row;
    }),
  );
}

function ready(chart) {
  const spec = structuredClone(chart);
  const signals = sharedSignals();
  for (const signal of spec.signals) if (signal.name in signals) signal.value = signals[signal.name];
  for (const set of spec.data) if (!set.source) set.values = rowsOf(set.name);
  for (const axis of ["x", "y"]) {
    const log = spec.usermeta.log.includes(axis) && !state.linear;
    spec.signals.push({ name: axis + "_log", value: log });
    spec.scales.find((scale) => scale.name === axis).type = log ? "log" : "linear";
  }
  return spec;
}

const SIZES = ["n", "n_low", "n_high", "flat_low", "flat_high"];

// An answer with its sizes under the chosen count; null if there is none.
function shownAnswer(answer) {
  if (!answer) return null;
  const shown = { ...answer, n_first: answer.n };
  for (const name of SIZES) if (name in shown) shown[name] = shownSize(shown[name]);
  return shown;
}

// The same list as long as nothing changes: with another one every curve would be drawn anew.
const NOBODY = [];
const runsOf = { picked: NOBODY, runs: NOBODY };

function runsOfPicked() {
  if (runsOf.picked !== state.picked) {
    Object.assign(runsOf, { picked: state.picked, runs: [...new Set(state.picked.map((id) => runById.get(id).run))] });
  }
  return runsOf.runs;
}

const sharedSignals = () => ({
  law: state.law,
  unit: state.unit,
  bits_per_nat: data.bits_per_nat ?? 1,
  count: state.count,
  hidden: state.hidden,
  lit: state.lit,
  picked: state.picked,
  picked_runs: runsOfPicked(),
  unseen: data.unseen[state.law] ?? NOBODY,
  forecast: state.forecast,
  at: shownAnswer(state.answer),
  need: shownAnswer(state.need),
});

function show(name) {
  const place = views.get(name);
  for (const view of place.drawn) view.finalize();
  place.drawn = place.charts.map((chart, i) => {
    const holder = place.holders[i];
    holder.replaceChildren();
    const view = new vega.View(vega.parse(ready(chart), null, { ast: true }), {
      expr: vega.expressionInterpreter,
      renderer: "svg",
      container: holder,
      logLevel: vega.Warn,
    });
    for (const [signal, value] of place.shown[i]) view.signal(signal, value);
    view.signal("width", Math.max(holder.clientWidth, 240));
    listen(view);
    listenTold(view, chart);
    view.run();
    return view;
  });
}

// What is out of sight is drawn anew when it comes back.
function forget(place) {
  for (const view of place.drawn) view.finalize();
  for (const holder of place.holders) holder.replaceChildren();
  place.drawn = [];
}

function listen(view) {
  const over = (item) => (item && item.mark && item.mark.name === "hits" ? item.datum.id : null);
  view.addEventListener("pointermove", (event, item) => {
    if (pinned !== UNPINNED) return;
    const id = over(item);
    light(id);
    if (id === null) hideCard();
    else showCard(id, event);
  });
  view.addEventListener("pointerout", (_, item) => {
    if (pinned === UNPINNED && over(item) !== null) {
      light(null);
      hideCard();
    }
  });
  view.addEventListener("click", (event, item) => {
    const id = over(item);
    pinned = id;
    light(id);
    if (id === null) hideCard();
    else showCard(id, event);
  });
}

// Sets signals on all views; those out of sight follow when they come back.
function tell(signals) {
  for (const place of views.values()) {
    if (!place.drawn.length) continue;
    if (!place.visible) {
      place.stale = true;
      continue;
    }
    for (const view of place.drawn) {
      for (const [name, value] of Object.entries(signals)) view.signal(name, value);
      view.run();
    }
  }
}

function rebuild() {
  for (const [name, place] of views) {
    if (place.visible) show(name);
    else place.stale = place.drawn.length > 0;
  }
}

function light(id) {
  if (id === state.lit) return;
  if (state.lit !== null) rowOf(state.lit)?.classList.remove("lit");
  state.lit = id;
  if (id !== null) rowOf(id)?.classList.add("lit");
  tell({ lit: id });
  const run = id === null ? null : runById.get(id).run;
  for (const name of CURVES) {
    const place = views.get(name);
    if (place && place.visible) for (const view of place.drawn) view.signal("lit_run", run).run();
  }
}

const rowOf = (id) => document.getElementById("point-row-" + id);

// The card of a run: all that is known of it, and a link to its row.
const card = element("div", "live-card");
card.id = "live-card";
card.setAttribute("role", "status");
card.hidden = true;
document.querySelector("main").append(card);

// Loss with its standard error, in the unit that the page shows.
function lossWords(run) {
  const loss = shownLoss(run.loss);
  const each = { nats: 1, bits: data.bits_per_nat, perplexity: loss }[state.unit];
  const error = given(run.sem) ? ` ± ${decimals(run.sem * each)}` : "";
  return `${decimals(loss)}${error} ${UNIT_WORDS[state.unit]}`;
}

function cardRows(run) {
  const residual = run.residual[state.law];
  const end = data.forecast.find((each) => each.id === run.id && each.share === state.forecast);
  const loss = (value) => decimals(shownLoss(value));
  return [
    ["run", run.run],
    ["seed", String(run.seed)],
    ...run.n.map((n, i) => [`N, ${data.counts[i]}`, si(n)]),
    ["D", si(run.d)],
    ["C", `${flops(run.c)} FLOPs`],
    ["loss", lossWords(run)],
    ...(given(residual) ? [["off the law", `${residual > 0 ? "+" : "−"}${Math.abs(residual).toFixed(2)} %`]] : []),
    ...(end ? [[`forecast at ${percent(end.share)}`, `${loss(end.loss)} ${between(end.low, end.high, loss)}`]] : []),
  ];
}

function showCard(id, event) {
  const run = runById.get(id);
  const unseen = data.unseen[state.law]?.includes(id) ? ", left out of this fit" : "";
  const title = run.rung + (run.role === "holdout" ? ", held out for the forecast" : "") + unseen;
  fillCard(title, cardRows(run), id, pinned === id, event);
}

// The card at the pointer. One that is kept links to the row of its run, if it is of one.
function fillCard(title, rows, id, kept, event) {
  const list = element("dl");
  for (const [name, value] of rows) list.append(element("dt", "", name), element("dd", "", value));
  const link = element("a", "", !kept ? "click to keep this card" : id === null ? "" : "its row in the table");
  if (kept && id !== null) link.href = "#point-row-" + id;
  card.replaceChildren(element("b", "", title), list, link);
  card.hidden = false;
  const { clientX, clientY } = event.touches?.[0] ?? event;
  const box = card.getBoundingClientRect();
  const beside = clientX + 16 + box.width > window.innerWidth ? clientX - 16 - box.width : clientX + 16;
  card.style.left = `${Math.max(4, beside)}px`;
  card.style.top = `${Math.min(Math.max(4, clientY + 12), window.innerHeight - box.height - 4)}px`;
}

function hideCard() {
  card.hidden = true;
}

function letGo() {
  pinned = UNPINNED;
  light(null);
  hideCard();
  if (state.picked.length) change({ picked: [] });
}

document.addEventListener("keydown", (event) => event.key === "Escape" && letGo());
document.addEventListener("click", (event) => {
  if (pinned === UNPINNED || event.target.closest(".live-chart, .live-card")) return;
  pinned = UNPINNED;
  light(null);
  hideCard();
});

// Parts of a figure that are switched and its enlarged ranges, as the address has them.
function asAddressed(name, charts) {
  const kept = state.figures[name] ?? { parts: [], zooms: [] };
  const switched = new Set(kept.parts);
  const shown = charts.map((chart, i) => {
    const on = (each) => usual({ charts }, each) !== switched.has(each.name);
    const parts = chart.usermeta.series.filter((each) => on(each) !== each.on);
    return new Map([...parts.map((each) => ["show_" + each.name, on(each)]), ...Object.entries(kept.zooms[i] ?? {})]);
  });
  return { switched, shown };
}

// One or more charts before the static figure of that name, which print and pages without script show.
function place(name, charts) {
  const figure = document.getElementById("figure-" + name);
  if (!figure) return;
  const box = element("div", "live-charts");
  const holders = charts.map(() => element("div", "live-chart"));
  box.append(...holders);
  charts.forEach((chart, i) => holders[i].classList.toggle("live-low", chart.height < 200));
  const one = { figure, charts, holders, drawn: [], visible: false, stale: false, ...asAddressed(name, charts) };
  views.set(name, one);
  figure.prepend(box, legendOf(name, one));
  if (CURVES.includes(name)) box.before(curveControls());
  figure.classList.add("live");
  holders.forEach((holder, i) => draggable(one, holder, i));
  seen.observe(figure);
  resized.observe(box);
}

const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      const [name, one] = [...views].find(([, each]) => each.figure === entry.target);
      one.visible = entry.isIntersecting;
      if (one.visible && (one.stale || !one.drawn.length)) {
        one.stale = false;
        show(name);
      }
    }
  },
  { rootMargin: "300px" },
);

const resized = new ResizeObserver(() => {
  for (const one of views.values()) {
    one.drawn.forEach((view, i) => {
      const width = Math.max(one.holders[i].clientWidth, 240);
      if (view.signal("width") !== width) view.signal("width", width).run();
    });
  }
});
