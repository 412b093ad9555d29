"use strict";
// The pick and the front under the reader's limits: the rule of studies/selection.py.
(() => {
  const { enough, trials, stops } = JSON.parse(document.getElementById("limits").textContent);
  const form = document.getElementById("limits-form");
  if (!form) return;
  const sliders = [...form.querySelectorAll("input")];
  const rows = [...document.querySelectorAll("#front tr[data-number]")];
  const tag = document.querySelector("#front tr.pick .tag");

  function front(found) {
    const beats = (one, other) => one.point.every((v, i) => v <= other.point[i])
      && one.point.some((v, i) => v < other.point[i]);
    return found.filter((trial) => !found.some((other) => beats(other, trial)));
  }

  function best(members) {
    const kept = members.filter((trial) => trial.kept >= enough);
    const again = kept.filter((trial) => trial.repeated);
    const good = again.length ? again : kept;
    const thrifty = (a, b) => a.cost - b.cost || b.kept - a.kept || a.number - b.number;
    const able = (a, b) => b.kept - a.kept || a.number - b.number;
    return good.length ? good.sort(thrifty)[0] : [...members].sort(able)[0];
  }

  // The limits that are set: a slider at its end sets none.
  function limits() {
    const set = sliders.filter((slider) => slider.value !== slider.max);
    return new Map(set.map((slider) => [slider.name, stops[slider.name][Number(slider.value)]]));
  }

  function written(value) {
    return Number(value.toPrecision(3)).toLocaleString("en-US", { maximumSignificantDigits: 3 });
  }

  function label(slider, most) {
    const text = most === undefined ? "no limit" : `at most ${written(most)} ${slider.dataset.unit}`;
    slider.setAttribute("aria-valuetext", text);
    form.querySelector(`output[for="${slider.id}"]`).textContent = text;
  }

  function list(members, chosen) {
    const numbers = new Set(members.map((trial) => String(trial.number)));
    for (const row of rows) {
      const picked = chosen !== undefined && row.dataset.number === String(chosen.number);
      row.hidden = !numbers.has(row.dataset.number);
      row.classList.toggle("pick", picked);
      if (picked && tag) row.querySelector("th").append(tag);
    }
  }

  // The ring around the pick, and a line at each limit; in 3-D, an outline.
  function mark(most, chosen) {
    for (const [id, figure] of Object.entries(report.figures)) {
      const flat = figure.data.find((trace) => trace.meta.axis);
      const solid = figure.data.find((trace) => trace.meta.axes);
      if (flat) markFlat(figure.layout, flat, most, chosen);
      if (solid) markSolid(figure, solid, most, chosen);
      if (flat || solid) report.redraw(id);
    }
  }

  function markFlat(layout, ring, most, chosen) {
    const axis = ring.meta.axis;
    ring.x = chosen ? [chosen.marks[axis]] : [];
    ring.y = chosen ? [chosen.marks.retention] : [];
    const others = (layout.shapes || []).filter((shape) => !shape.limit);
    const line = { type: "line", name: "infeasible", yref: "paper", y0: 0, y1: 1, line: { width: 1.5 } };
    const at = most.get(axis);
    layout.shapes = at === undefined ? others : [...others, { ...line, x0: at, x1: at, limit: true }];
  }

  function markSolid(figure, ring, most, chosen) {
    ["x", "y", "z"].forEach((name, i) => { ring[name] = chosen ? [chosen.marks[ring.meta.axes[i]]] : []; });
    const { xaxis, yaxis, zaxis } = figure.layout.scene;
    const across = (axis) => [0, 1, 1, 0, 0].map((end) => 10 ** axis.range[end]);
    for (const outline of figure.data.filter((trace) => trace.meta.limit)) {
      const at = most.get(outline.meta.limit), here = Array(5).fill(at);
      const late = outline.meta.limit === "latency_ms";
      Object.assign(outline, at === undefined ? { x: [], y: [], z: [] } : {
        x: late ? here : across(xaxis),
        y: late ? across(yaxis) : here,
        z: [0, 0, 1, 1, 0].map((end) => zaxis.range[end]),
      });
    }
  }

  function update() {
    const most = limits();
    const within = trials.filter((trial) => [...most].every(([name, value]) => trial.costs[name] <= value));
    const members = front(within);
    const chosen = best(members);
    for (const slider of sliders) label(slider, most.get(slider.name));
    list(members, chosen);
    mark(most, chosen);
    document.getElementById("limits-said").textContent = chosen === undefined
      ? "No student is within these limits. Raise one of them."
      : `${most.size ? "Within these limits" : "Without a limit"} the pick is ${chosen.said}.`;
  }

  form.addEventListener("input", update);
  document.getElementById("limits-reset").addEventListener("click", () => {
    for (const slider of sliders) slider.value = slider.max;
    update();
  });
  form.hidden = false;
  update();
})();
