"use strict";
// Draws figures as they come into view, and keeps links, printing, colors and theme in step.
const report = (() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const labels = JSON.parse(document.getElementById("labels").textContent);
  const drawn = new Set();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;
  const paper = matchMedia("print");
  const narrow = matchMedia("(max-width: 860px)");

  const color = (role) =>
    getComputedStyle(document.documentElement).getPropertyValue("--" + role.replace(/_/g, "-")).trim();

  function painted(figure) {
    const copy = structuredClone(figure);
    const ink = color("ink"), rule = color("rule"), muted = color("muted");
    for (const trace of copy.data) {
      const own = color(trace.meta.role);
      if (Array.isArray(trace.hovertext)) trace.hovertext = trace.hovertext.map((place) => labels[place]);
      if (trace.marker) trace.marker.color = own;
      if (trace.line) trace.line.color = own;
      for (const bars of [trace.error_x, trace.error_y, trace.error_z]) if (bars) bars.color = own;
    }
    const layout = copy.layout;
    Object.assign(layout, {
      autosize: true,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: ink },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: ink },
      hoverlabel: { bgcolor: color("paper"), bordercolor: rule, align: "left", font: { color: ink, size: 12.5 } },
    });
    if (touch) layout.dragmode = false;
    for (const shape of layout.shapes || []) if (shape.name) shape.line.color = color(shape.name);
    for (const note of layout.annotations || []) {
      if (note.name === "title" && narrow.matches) {
        Object.assign(note, { textangle: -60, xanchor: "left", y: 1.02, yanchor: "bottom" });
        layout.margin.t = 84;
      }
      if (note.name === "label") Object.assign(note, { bgcolor: color("paper"), borderpad: 1, opacity: 0.85 });
    }
    if (layout.grid && narrow.matches) stack(layout);
    if (layout.scene && narrow.matches) layout.height = Math.min(layout.height, 0.72 * innerWidth);  // or its sides are cut
    const solid = axes(layout.scene || {}), size = solid.length && narrow.matches ? 9 : 12.5;
    for (const axis of solid) Object.assign(axis, { spikecolor: muted, spikesides: false, spikethickness: 1 });
    for (const axis of [...axes(layout), ...solid]) {
      Object.assign(axis, { gridcolor: rule, linecolor: rule, tickfont: { color: muted, size }, zeroline: false });
      if (axis.title) axis.title.font = { color: muted, size };
    }
    return copy;
  }

  function axes(layout) {
    return Object.keys(layout).filter((key) => /^[xyz]axis\d*$/.test(key)).map((key) => layout[key]);
  }

  // Plots that stand side by side stand one below the other where there is no room.
  function stack(layout) {
    const { rows, columns } = layout.grid;
    Object.assign(layout.grid, { rows: columns, columns: rows });
    layout.height *= columns;
    for (const [key, axis] of Object.entries(layout)) {
      if (!/^yaxis\d+$/.test(key) || (axis.title && axis.title.text)) continue;
      axis.title = structuredClone(layout.yaxis.title);
      Object.assign(axis, { ticktext: layout.yaxis.ticktext, automargin: layout.yaxis.automargin });
    }
  }

  // Plotly waits as text: the page can be read and used before it has run.
  function start() {
    const held = document.getElementById("plotly");
    if (!held || window.Plotly) return;
    const engine = document.createElement("script");
    engine.textContent = held.textContent;
    document.head.append(engine);
    held.remove();
  }

  function draw(id) {
    const plot = document.getElementById(id);
    if (figures[id].layout.scene && !drawn.has(id) && !webgl()) return without(plot);
    start();
    const { data, layout } = painted(figures[id]);
    Plotly.react(plot, data, layout, {
      responsive: true,
      displaylogo: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
      toImageButtonOptions: { format: "svg", filename: id },
    });
    if (drawn.has(id)) return;
    drawn.add(id);
    plot.on("plotly_click", toRow);
    plot.on("plotly_hover", show);
    plot.on("plotly_unhover", () => { peek.hidden = true; });
    if (layout.scene) turnable(plot);
  }

  // A figure whose data have changed; one that is not drawn yet will be drawn with them.
  function redraw(id) {
    if (drawn.has(id)) draw(id);
  }

  function redrawAll() {
    drawn.forEach(draw);
  }

  const view = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      view.unobserve(target);
      draw(target.id);
    }
    if (!document.documentElement.dataset.ready) ready();
  }, { rootMargin: "200px 0px" });

  // What is in view is drawn; Plotly runs in the next pause, so that scrolling need not wait.
  function ready() {
    performance.mark("ready", { detail: [...drawn] });
    document.documentElement.dataset.ready = "true";
    (window.requestIdleCallback || setTimeout)(start);
  }

  // Paper has all figures, but for those that are closed away and what would have to be turned.
  function drawOnPaper() {
    for (const id of Object.keys(figures)) {
      if (document.getElementById(id).closest("details.solid, details:not([open])")) continue;
      if (drawn.has(id)) Plotly.Plots.resize(id);
      else draw(id);
    }
  }

  function webgl() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  }

  function without(plot) {
    plot.hidden = true;
    plot.closest("details").querySelector(".without").hidden = false;
  }

  // Arrow keys turn a view: around the upright axis, or over it.
  const TURNS = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, 0.15], ArrowDown: [0, -0.15] };

  function turnable(plot) {
    const scene = figures[plot.id].layout.scene;
    plot.on("plotly_relayout", () => { scene.camera = structuredClone(plot.layout.scene.camera); });
    plot.addEventListener("keydown", (event) => {
      const turn = TURNS[event.key];
      if (!turn) return;
      event.preventDefault();
      const { x, y, z } = scene.camera.eye, far = Math.hypot(x, y, z);
      const around = Math.atan2(y, x) + turn[0];
      const over = Math.max(-1.5, Math.min(1.5, Math.asin(z / far) + turn[1]));
      const flat = far * Math.cos(over);
      const eye = { x: flat * Math.cos(around), y: flat * Math.sin(around), z: far * Math.sin(over) };
      Plotly.relayout(plot, { "scene.camera.eye": eye });
    });
  }

  const linked = () => location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));

  function reveal() {
    const target = linked();
    const closed = target && target.closest("details:not([open])");
    if (!closed) return;
    closed.open = true;
    target.scrollIntoView({ block: "center" });
  }

  // A point knows the number of its trial, or the id of its row.
  function toRow(event) {
    const row = event.points[0].customdata;
    if (row === undefined || row === null) return;
    location.hash = "";
    location.hash = typeof row === "string" ? row : "trial-" + row;
  }

  // The samples of a trial, for the pointer: a grid of the gallery, or one kept for this alone.
  let samples;
  function sample(number) {
    samples ??= JSON.parse((document.getElementById("samples-data") || { textContent: "{}" }).textContent);
    return samples[number];
  }

  const peek = document.createElement("img");
  Object.assign(peek, { id: "peek", alt: "", hidden: true });
  document.body.append(peek);

  // Plotly does not say where the pointer is over a view in 3-D.
  let last;
  addEventListener("pointermove", (event) => { last = event; }, { passive: true });

  function show(event) {
    const number = event.points[0].customdata, pointer = event.event || last;
    const grid = document.querySelector(`img[data-trial="${number}"]`);
    const source = grid ? grid.src : sample(number);
    peek.hidden = !source || !pointer;
    if (peek.hidden) return;
    peek.src = source;
    const above = pointer.clientY > innerHeight / 2;
    peek.style.left = `${Math.max(8, Math.min(pointer.clientX - 72, innerWidth - 152))}px`;
    peek.style.top = `${pointer.clientY + (above ? -212 : 68)}px`;
  }

  addEventListener("DOMContentLoaded", () => {
    const target = linked();  // at once, so that what is drawn first is what is looked at
    if (target) target.scrollIntoView({ behavior: "instant" });
    const places = Object.keys(figures).map((id) => document.getElementById(id));
    places.forEach((place) => view.observe(place));
    if (!places.length) ready();
    reveal();
  });
  addEventListener("hashchange", reveal);
  for (const media of [dark, paper, narrow]) media.addEventListener("change", redrawAll);
  paper.addEventListener("change", () => { if (paper.matches) drawOnPaper(); });
  addEventListener("beforeprint", drawOnPaper);
  return { figures, redraw };
})();
