// The page of one sweep: shows what its files say, and asks again every few seconds.

import { N_COLOURS, chart } from "/static/chart.js";
import { poll } from "/static/poll.js";

const main = document.querySelector("main");
const at = (id) => document.getElementById(id);

function made(name, text, className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

function showHead(view) {
  at("state").textContent = view.state;
  at("state").className = `state ${view.state}`;
  at("headline").textContent = `${view.headline}.`;
  at("facts").textContent = `grid ${view.grid}; wall-clock ${view.wall_clock}`;
  at("report").hidden = !view.has_report;
  at("report").href = main.dataset.report;
  at("alarms").replaceChildren(...view.alarms.map((text) => made("li", text)));
  at("alarms").hidden = !view.alarms.length;
}

function showCurves(view) {
  // By size, smallest first, as a number in the name says.
  const rungs = [...new Set(view.curves.map((curve) => curve.rung))];
  rungs.sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  const colourOf = (rung) => rungs.indexOf(rung) % N_COLOURS;
  const svg = chart(view, colourOf, main.clientWidth);
  at("curves").hidden = !svg;
  if (!svg) return;
  at("chart").replaceChildren(svg);
  at("legend").replaceChildren(...rungs.map((rung) => made("li", rung, `c${colourOf(rung)}`)));
  const percent = `${Number((100 * view.level).toPrecision(3))} %`;
  const isForecast = view.curves.some((curve) => curve.ends.some((end) => end.interval));
  at("about-curves").textContent = [
    isForecast ? `Open circles: where unfinished runs end, with ${percent} intervals.` : "",
    view.curves.some((curve) => curve.ends.some((end) => !end.interval)) ? "Dots: ends that were reached; after a cooldown they lie below the curve." : "",
    view.n_more_curves ? `${view.n_more_curves} more curves are not shown.` : "",
  ].filter(Boolean).join(" ");
}

function showRuns(view) {
  // Columns that are empty in every row take room and say nothing.
  const shown = view.columns.map((_, i) => i).filter((i) => view.runs.some((run) => run.texts[i]));
  const side = (i) => (view.right.includes(view.columns[i]) ? "right" : "");
  const head = document.createElement("tr");
  for (const i of shown) head.append(made("th", view.columns[i], side(i)));
  for (const cell of head.children) cell.scope = "col";
  const rows = view.runs.map((run) => {
    const row = document.createElement("tr");
    row.className = run.status;
    for (const i of shown) row.append(made("td", run.texts[i], side(i)));
    return row;
  });
  document.querySelector("#runs thead").replaceChildren(head);
  document.querySelector("#runs tbody").replaceChildren(...rows);
  at("more-runs").textContent = view.n_more ? `${view.n_more} more runs are not shown.` : "";
  at("runs").hidden = !rows.length;
}

let last = null;
addEventListener("resize", () => last && showCurves(last));

poll(main.dataset.source, (text) => {
  const view = JSON.parse(text);
  if (view.problem) {
    at("state").textContent = "damaged";
    at("state").className = "state damaged";
    at("headline").textContent = view.problem;
    return;
  }
  last = view;
  showHead(view);
  showCurves(view);
  showRuns(view);
});
