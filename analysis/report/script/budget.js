// The budget: what is given, what it buys, and the numbers on the page.

const HOUR = 3600; // seconds

// Compute of a state, or what of it is given.
function computeOf(name, value) {
  if (name === "hours") return value * HOUR * state.speed;
  return name === "cost" ? (value / state.price) * HOUR * state.speed : value;
}

function givenOf(answer, name) {
  const hours = answer.c / state.speed / HOUR;
  return { ...answer, hours, cost: hours * state.price }[name];
}

const SPELLED = {
  c: (value) => flops(value, 3),
  n: (value) => si(shownSize(value)),
  d: (value) => si(value),
  hours: (value) => significant(value, 3),
  cost: (value) => significant(value, 3),
};
const knows = (name) => (name !== "hours" && name !== "cost") || (state.speed > 0 && (name === "hours" || state.price > 0));

// Ends of the slider, in what is given.
function reach() {
  const curve = data.frontier[state.law];
  const along = state.name === "n" || state.name === "d" ? curve[state.name] : curve.c;
  return [along[0], along[along.length - 1]].map((end) => (along === curve.c ? givenOf({ c: end }, state.name) : end));
}

// Brings the answers up to what is given; `before` is the state so far.
function answerBudget(before) {
  if (!knows(state.name)) state.name = "c";
  if (state.name !== before.name) state.value = givenOf(before.answer, state.name);
  const [low, high] = reach();
  state.value = Math.min(Math.max(state.value, low), high);
  const name = state.name === "n" || state.name === "d" ? state.name : "c";
  state.answer = answerOf(data.frontier[state.law], name, computeOf(state.name, state.value));
  state.need = demandOf(data.demand[state.law], data.demands, state.answer, state.inference);
  writeAnswer();
}

function writeAnswer() {
  const found = shownAnswer(state.answer);
  const [low, high] = reach();
  const slider = control("slider");
  slider.value = Math.round((1000 * Math.log(state.value / low)) / Math.log(high / low));
  slider.setAttribute("aria-valuetext", SPELLED[state.name](state.value));
  if (document.activeElement !== control("value")) control("value").value = SPELLED[state.name](state.value);
  control("given").value = state.name;
  for (const option of control("given").options) option.disabled = !knows(option.value);
  const loss = (value) => decimals(shownLoss(value));
  const remains = data.irreducible[state.law];
  const hours = knows("hours") ? found.c / state.speed / HOUR : NaN;
  const rows = {
    c: [flops(found.c, 3), between(found.c_low, found.c_high, flops)],
    n: [si(found.n), between(found.n_low, found.n_high, si)],
    d: [si(found.d), between(found.d_low, found.d_high, si)],
    loss: [`${loss(found.loss)} ${UNIT_WORDS[state.unit]}`, between(found.loss_low, found.loss_high, loss)],
    irreducible: [
      remains.why || `${loss(remains.value)} ${UNIT_WORDS[state.unit]}`,
      between(remains.low, remains.high, loss),
    ],
    flat: [`${si(found.flat_low)} – ${si(found.flat_high)}`, ""],
    ratio: [significant(found.d / found.n, 3), ""],
    hours: [given(hours) ? lasting(hours * HOUR) : DASH, ""],
    cost: [knows("cost") ? money(hours * state.price) : DASH, ""],
    ...needRows(shownAnswer(state.need)),
  };
  for (const [name, [value, interval]] of Object.entries(rows)) {
    control("out-" + name).textContent = value;
    const beside = control("low-high-" + name);
    if (beside) beside.textContent = interval;
  }
  for (const each of document.querySelectorAll(".live-count")) each.textContent = data.counts[state.count];
  control("need").hidden = !state.need;
  control("no-need").hidden = state.need !== null;
  const factor = found.c / data.largest;
  control("far").textContent =
    factor > 1.001 ? `${significant(factor, 2)} times the largest run: extrapolation.` : "Within the compute of the runs.";
  control("far").classList.toggle("warn", factor > 30);
}

// The run that is cheapest with inference.
function needRows(need) {
  if (!need) return {};
  return {
    "need-n": [si(need.n), between(need.n_low, need.n_high, si)],
    "need-d": [si(need.d), ""],
    "need-ratio": [significant(need.d / need.n, 3), ""],
    "need-c": [flops(need.c, 3), ""],
    "need-inference": [flops(need.inference, 3), ""],
    "need-saved": [percent(Math.max(need.saved, 0)), ""],
  };
}

const TYPED = ["speed", "price", "inference"];

function writeTyped() {
  for (const name of TYPED) {
    const field = control(name);
    field.value = !given(state[name]) ? "" : name === "speed" ? flops(state[name], 3) : si(state[name]);
    field.removeAttribute("aria-invalid");
  }
  control("value").removeAttribute("aria-invalid");
}

function listenToBudget() {
  writeTyped();
  for (const name of TYPED) {
    const field = control(name);
    field.addEventListener("change", () => {
      const value = typed(field.value);
      field.setAttribute("aria-invalid", String(field.value.trim() !== "" && !(value > 0)));
      change({ [name]: value > 0 ? value : null });
    });
  }
  control("law").addEventListener("change", (event) => change({ law: Number(event.target.value) }));
  control("given").addEventListener("change", (event) => change({ name: event.target.value }));
  control("slider").addEventListener("input", (event) => {
    const [first, last] = reach();
    change({ value: first * (last / first) ** (event.target.value / 1000) });
  });
  control("value").addEventListener("change", (event) => {
    const value = typed(event.target.value);
    event.target.setAttribute("aria-invalid", String(!(value > 0)));
    if (value > 0) change({ value: state.name === "n" ? typedSize(value) : value });
  });
  control("value").addEventListener("blur", writeAnswer);
  control("budget").hidden = false;
}
