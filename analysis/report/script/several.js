// A page of several sweeps: what each makes of a budget, and how the others differ from the first.

const several = data.several;
const QUANTITIES = { n: (value) => si(value), d: (value) => si(value), loss: (value) => decimals(value) };

// A field of a sweep's frontier at a compute, by a law; null if the sweep lacks the law or the number.
function severalAt(place, law, c, field) {
  const curve = several?.frontiers[place][law];
  if (!curve || !curve[field].every(given)) return null;
  return interpolate(curve.c, curve[field], c);
}

// The other value relative to the first: a difference of losses, else a factor. Distances to the ends of both
// intervals add as squares, as for independent estimates (analysis/report/together.py).
function apart(one, other, name) {
  const [on, back] = name === "loss" ? [(value) => value, (value) => value] : [Math.log, Math.exp];
  const [a, b] = [one, other].map((each) => Object.fromEntries(Object.entries(each).map(([end, value]) => [end, given(value) ? on(value) : null])));
  if (!given(a.value) || !given(b.value)) return null;
  const value = b.value - a.value;
  if (![a.low, a.high, b.low, b.high].every(given)) return { value: back(value), low: null, high: null };
  const low = value - Math.hypot(b.value - b.low, a.high - a.value);
  const high = value + Math.hypot(b.high - b.value, a.value - a.low);
  return { value: back(value), low: back(low), high: back(high) };
}

function severalAnswers(name) {
  const read = (place, end) => severalAt(place, state.chosen.by, state.answer.c, name + end);
  return several.names.map((_, place) => ({ value: read(place, ""), low: read(place, "_low"), high: read(place, "_high") }));
}

const spelledWith = (found, spell) => (found && given(found.value) ? `${spell(found.value)} ${between(found.low, found.high, spell)}`.trim() : DASH);

function writeSeveral() {
  const cell = (name, place, part) => control(["several", name, place, part].filter((each) => each !== "").join("-"));
  for (const [name, spell] of Object.entries(QUANTITIES)) {
    const found = severalAnswers(name);
    found.forEach((each, place) => {
      cell(name, place, "").textContent = spelledWith(each, spell);
      if (!place) return;
      const compares = name !== "loss" || !several.reasons[place];
      const off = compares ? apart(found[0], each, name) : null;
      const spelled = name === "loss" ? (value) => (value > 0 ? "+" : "") + decimals(value) : times;
      cell(name, place, "apart").textContent = spelledWith(off, spelled);
    });
  }
  const ratio = (place) => severalAt(place, state.chosen.by, state.answer.c, "d") / severalAt(place, state.chosen.by, state.answer.c, "n");
  several.names.forEach((_, place) => (cell("ratio", place, "").textContent = significant(ratio(place), 3)));
  const { first, last } = several;
  const slider = control("slider");
  slider.value = Math.round((1000 * Math.log(state.answer.c / first)) / Math.log(last / first));
  slider.setAttribute("aria-valuetext", flops(state.answer.c, 3));
  if (document.activeElement !== control("value")) control("value").value = flops(state.answer.c, 3);
  const beyond = several.names.filter((_, place) => state.answer.c > 1.001 * several.largest[place]);
  control("far").textContent = beyond.length ? `Beyond the largest run of ${beyond.join(", ")}: extrapolation there.` : "Within the compute of all sweeps.";
}

function moveSeveral(c) {
  state.answer = { c: Math.min(Math.max(c, several.first), several.last) };
  writeSeveral();
  tell(sharedSignals());
  remember();
}

const firstOfSeveral = () => Math.min(Math.max(Math.min(...several.largest), several.first), several.last);

function rememberSeveral(kept) {
  if (several && state.answer.c !== firstOfSeveral()) kept.set("c", significant(state.answer.c, 6));
}

function answerSeveral() {
  const asked = Number(new URLSearchParams(location.hash.slice(1)).get("c"));
  const c = asked > 0 && Number.isFinite(asked) ? asked : firstOfSeveral();
  state.answer = { c: Math.min(Math.max(c, several.first), several.last) };
}

function startSeveral() {
  control("slider").addEventListener("input", (event) => moveSeveral(several.first * (several.last / several.first) ** (event.target.value / 1000)));
  control("value").addEventListener("change", (event) => {
    const value = typed(event.target.value);
    event.target.setAttribute("aria-invalid", String(!(value > 0)));
    if (value > 0) moveSeveral(value);
  });
  control("value").addEventListener("blur", writeSeveral);
  document.addEventListener("DOMContentLoaded", () => {
    writeSeveral();
    control("budget").hidden = false;
  });
}
