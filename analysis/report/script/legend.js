// Legends: a button for every size, for all charts at once, and one for every part of this chart.
const MOST_RUNGS = 14;

function legendOf(name, place) {
  const legend = element("div", "live-legend");
  const [scale] = place.charts[0].scales.filter((each) => each.name === "colour");
  if (scale.domain.length > 1 && scale.domain.length <= MOST_RUNGS) {
    scale.domain.forEach((rung, i) => {
      const button = toggle(rung, scale.range[i], "point", () => {
        const off = state.hidden.includes(rung);
        change({ hidden: off ? state.hidden.filter((each) => each !== rung) : [...state.hidden, rung] });
      });
      button.dataset.rung = rung;
      button.setAttribute("aria-pressed", String(!state.hidden.includes(rung)));
      legend.append(button);
    });
  }
  const ofRuns = place.charts[0].data.some((set) => set.name === "runs");
  if (ofRuns && data.runs.some((run) => run.role === "holdout")) legend.append(element("span", "live-note", "▲ held out for the forecast"));
  const series = seriesOf(place);
  for (const each of series) {
    const button = toggle(each.label, each.colour, each.mark, () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      if (on === usual(place, each)) place.switched.delete(each.name);
      else place.switched.add(each.name);
      setShown(place, each.name, on);
      for (const view of place.drawn) view.run();
      remember();
    });
    const shown = place.shown.map((parts) => parts.get("show_" + each.name)).find((on) => on !== undefined);
    button.setAttribute("aria-pressed", String(shown ?? usual(place, each)));
    button.dataset.series = each.name;
    legend.append(button);
  }
  if (data.laws.length && series.some(ofLaw)) {
    const said = element("span", "live-note live-unsealed");
    said.setAttribute("role", "status");
    legend.append(said);
    writeUnsealed(place, said);
  }
  return legend;
}

const seriesOf = (place) => [
  ...new Map(place.charts.flatMap((chart) => chart.usermeta.series.map((each) => [each.name, each]))).values(),
];
const ofLaw = (each) => typeof each.law === "string";
const chosenLaw = () => data.laws[state.law] ?? "";

// Whether a part is shown unless its button says otherwise. One of a law follows the choice of a law,
// if the figure has that law.
function usual(place, each) {
  const follows = ofLaw(each) && seriesOf(place).some((one) => one.law === chosenLaw());
  return follows ? each.law === chosenLaw() : each.on;
}

function setShown(place, name, on) {
  place.charts.forEach((chart, i) => {
    if (!chart.usermeta.series.some((one) => one.name === name)) return;
    place.shown[i].set("show_" + name, on);
    place.drawn[i]?.signal("show_" + name, on);
  });
}

// Legends of laws follow the choice of a law; what was pressed by hand is let go.
function followLaw() {
  for (const place of views.values()) {
    const own = seriesOf(place).filter(ofLaw);
    if (!own.length) continue;
    for (const each of own) {
      const on = usual(place, each);
      place.switched.delete(each.name);
      setShown(place, each.name, on);
      place.figure.querySelector(`[data-series="${each.name}"]`).setAttribute("aria-pressed", String(on));
    }
    for (const view of place.drawn) view.run();
    writeUnsealed(place, place.figure.querySelector(".live-unsealed"));
  }
}

function writeUnsealed(place, said) {
  const sealed = seriesOf(place).some((each) => each.law === chosenLaw());
  said.textContent = sealed ? "" : "No forecast of the chosen law was sealed; this is the one that was.";
}

function toggle(label, colour, mark, act) {
  const button = element("button", "live-toggle");
  button.type = "button";
  button.setAttribute("aria-pressed", "true");
  const swatch = element("span", `swatch ${mark}`);
  swatch.style.setProperty("--colour", colour);
  button.append(swatch, label);
  button.addEventListener("click", act);
  return button;
}
