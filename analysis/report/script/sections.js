// Figures of sections: lists that choose what they show, and a card for each of their points.

const choicesOf = (name) => data.choices?.[name] ?? [];

// A data set of a section, which the page holds as columns.
function sectionRows(name) {
  const columns = data.rows[name];
  const fields = Object.keys(columns);
  if (!fields.length) return [];
  return columns[fields[0]].map((_, i) => Object.fromEntries(fields.map((field) => [field, columns[field][i]])));
}

// The options chosen at first, or named by the address.
function firstChoices(kept = new URLSearchParams()) {
  const chosen = {};
  for (const choice of Object.values(data.choices ?? {}).flat()) {
    const asked = choice.options.some((option) => option.value === kept.get(choice.name));
    chosen[choice.name] = asked ? kept.get(choice.name) : choice.options[0].value;
  }
  return chosen;
}

function rememberChoices(kept) {
  const first = firstChoices();
  for (const [name, value] of Object.entries(state.chosen)) if (value !== first[name]) kept.set(name, value);
}

const fits = (one) => Object.entries(one.when ?? {}).every(([name, values]) => values.includes(state.chosen[name]));

// Charts and entries of the legend that belong to what is chosen; some task may lack a metric.
function fittingCharts(name) {
  const found = data.charts[name].filter((chart) => fits(chart.usermeta));
  const along = (chart) => fits({ when: { ...chart.usermeta.when, metric: [state.chosen.metric] } });
  return (found.length ? found : data.charts[name].filter(along).slice(0, 1))
    .map((chart) => ({ ...chart, usermeta: { ...chart.usermeta, series: chart.usermeta.series.filter(fits) } }));
}

function listOf(name, choice) {
  const label = element("label", "", choice.label + " ");
  const list = element("select");
  list.dataset.choice = choice.name;
  for (const option of choice.options) {
    const one = element("option", "", option.label);
    one.value = option.value;
    list.append(one);
  }
  list.value = state.chosen[choice.name];
  list.addEventListener("change", () => {
    state.chosen[choice.name] = list.value;
    for (const [other, choices] of Object.entries(data.choices)) {
      if (choices.some((each) => each.name === choice.name)) refill(other);
    }
    if (several) writeSeveral();
    remember();
  });
  label.append(list);
  return label;
}

// Lists above a figure; one with a single option would choose nothing.
function choose(name) {
  const place = views.get(name);
  if (!place) return;
  const lists = choicesOf(name).filter((choice) => choice.options.length > 1);
  const row = element("div", "live-choices");
  row.append(...lists.map((choice) => listOf(name, choice)));
  const said = element("p", "live-said quiet");
  said.setAttribute("role", "status");
  if (choicesOf(name).some((choice) => choice.options.some((option) => option.note))) row.append(said);
  if (row.childNodes.length) place.figure.prepend(row);
  refill(name);
}

// Draws a figure anew for what is chosen; hidden parts of it stay hidden.
function refill(name) {
  const place = views.get(name);
  if (!place) return;
  const parts = new Map(place.shown.flatMap((shown) => [...shown]).filter(([signal]) => signal.startsWith("show_")));
  place.charts = fittingCharts(name);
  place.shown = place.charts.map((chart) => {
    const own = new Set(chart.signals.map((signal) => signal.name));
    const asked = chart.usermeta.choices.map((choice) => [choice, state.chosen[choice]]);
    return new Map([...[...parts].filter(([signal]) => own.has(signal)), ...asked]);
  });
  place.holders.forEach((holder, i) => {
    holder.hidden = i >= place.charts.length;
    if (holder.hidden) holder.replaceChildren();
  });
  place.figure.querySelector(".live-legend").replaceWith(legendOf(name, place));
  for (const list of place.figure.querySelectorAll("[data-choice]")) list.value = state.chosen[list.dataset.choice];
  const said = place.figure.querySelector(".live-said");
  const notes = choicesOf(name).map((choice) => choice.options.find((option) => option.value === state.chosen[choice.name]).note);
  if (said) said.textContent = notes.filter(Boolean).join(" ");
  if (place.visible) show(name);
  else place.stale = place.drawn.length > 0;
}

const SPELLERS = {
  decimals: (value) => decimals(value),
  figures: (value) => figures(value),
  flops: (value) => flops(value),
  loss: (value) => decimals(shownLoss(value)),
  per_cent: (value) => signed(value) + " %",
  plain: (value) => String(value),
  share: (value) => share(value),
  si: (value) => si(value),
  times: (value) => times(value),
  words: (value) => String(value),
};

function toldLines(row, card) {
  const found = [];
  for (const line of card.lines) {
    const spell = SPELLERS[line.spell];
    const value = row[line.value];
    const [low, high] = [row[line.low], row[line.high]];
    const ends = given(low) && given(high) ? `[${spell(low)}, ${spell(high)}]` : "";
    const none = value === null || value === undefined;
    if (none && (line.value || !ends)) continue;
    const unit = line.spell === "loss" ? ` ${UNIT_WORDS[state.unit]}` : "";
    found.push([line.label, [none ? "" : spell(value) + unit, ends].filter(Boolean).join(" ")]);
  }
  return found;
}

function tellCard(row, card, event) {
  const title = [row[card.title], card.names[row.g]].filter(Boolean).join(", ");
  fillCard(title, toldLines(row, card), runById.has(row.id) ? row.id : null, pinned === row, event);
}

// Points of sections say what they are; one that is a run lights it everywhere.
function listenTold(view, chart) {
  const card = chart.usermeta.card;
  if (!card) return;
  view.hover();
  const over = (item) => (item && item.mark && /^told_/.test(item.mark.name) ? item.datum : null);
  const lit = (row) => row && runById.has(row.id) && light(row.id);
  view.addEventListener("pointermove", (event, item) => {
    const row = pinned === UNPINNED && over(item);
    if (!row) return;
    lit(row);
    tellCard(row, card, event);
  });
  view.addEventListener("pointerout", (_, item) => {
    if (pinned !== UNPINNED || !over(item)) return;
    light(null);
    hideCard();
  });
  view.addEventListener("click", (event, item) => {
    const row = over(item);
    if (!row) return;
    pinned = row;
    lit(row);
    tellCard(row, card, event);
  });
}
