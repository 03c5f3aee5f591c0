// Dragging over a chart: a rectangle becomes the whole chart, or its runs are selected in all figures.

const frame = element("div", "live-frame");
frame.hidden = true;
document.querySelector("main").append(frame);
const LEAST_DRAG = 8;

function draggable(one, holder, i) {
  let from = null;
  const corners = (event) => [
    [Math.min(from.x, event.clientX), Math.max(from.x, event.clientX)],
    [Math.min(from.y, event.clientY), Math.max(from.y, event.clientY)],
  ];
  holder.addEventListener("pointerdown", (event) => {
    // A finger scrolls the page, unless it is to select.
    if (event.button !== 0 || (event.pointerType !== "mouse" && state.drag !== "pick")) return;
    from = { x: event.clientX, y: event.clientY };
  });
  // On the window, because the mouse may leave the chart; a captured pointer would take the click from a run.
  window.addEventListener("pointermove", (event) => {
    if (!from) return;
    const [[left, right], [top, bottom]] = corners(event);
    frame.hidden = right - left < LEAST_DRAG || bottom - top < LEAST_DRAG;
    Object.assign(frame.style, { left: `${left}px`, top: `${top}px`, width: `${right - left}px`, height: `${bottom - top}px` });
  });
  window.addEventListener("pointerup", (event) => {
    if (!from) return;
    const [across, down] = corners(event);
    const drawn = !frame.hidden;
    from = null;
    frame.hidden = true;
    if (!drawn) return;
    const view = one.drawn[i];
    const box = holder.querySelector("svg").getBoundingClientRect();
    const [x, y] = view.origin();
    const inside = [across.map((value) => value - box.left - x), down.map((value) => value - box.top - y)];
    if (state.drag === "pick") change({ picked: runsIn(view, inside) });
    else enlarge(one, i, view, inside);
  });
  holder.addEventListener("dblclick", () => zoom(one, i, { x_zoom: null, y_zoom: null }));
}

function enlarge(one, i, view, [across, down]) {
  const within = (value, most) => Math.min(Math.max(value, 0), view.signal(most));
  // Ends rise also where an axis falls from left to right.
  const along = across.map((value) => view.scale("x").invert(within(value, "width")));
  zoom(one, i, {
    x_zoom: along.sort((one, other) => one - other),
    y_zoom: down.reverse().map((value) => view.scale("y").invert(within(value, "height"))),
  });
}

// Charts of one figure share an axis if it has the same title.
function zoom(one, i, ends) {
  const title = (chart, name) => JSON.stringify(chart.axes["xy".indexOf(name[0])].title);
  one.charts.forEach((chart, j) => {
    const shared = Object.entries(ends).filter(([name]) => j === i || title(chart, name) === title(one.charts[i], name));
    if (!shared.length) return;
    for (const [name, value] of shared) {
      one.shown[j].set(name, value);
      one.drawn[j]?.signal(name, value);
    }
    one.drawn[j]?.run();
  });
  remember();
}

// The runs whose points lie in a rectangle of a chart, by their places in the table.
function runsIn(view, [[left, right], [top, bottom]]) {
  const marks = view.scenegraph().root.items[0].items.filter((mark) => /^(hits$|told_)/.test(mark.name));
  const within = (at) => at.x >= left && at.x <= right && at.y >= top && at.y <= bottom && at.size > 0;
  const found = marks.flatMap((mark) => mark.items).filter(within).flatMap((at) => runsOfPoint(at.datum));
  return [...new Set(found)].filter((id) => runById.has(id));
}

function writeDrag() {
  for (const one of views.values()) for (const each of one.holders) each.classList.toggle("live-picking", state.drag === "pick");
}
