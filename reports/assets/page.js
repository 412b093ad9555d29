"use strict";
// Draws the figures in the page's own colors, and keeps links, printing and theme in step.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
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
      if (trace.marker) trace.marker.color = own;
      if (trace.line) trace.line.color = own;
      for (const bars of [trace.error_x, trace.error_y]) if (bars) bars.color = own;
    }
    const layout = copy.layout;
    Object.assign(layout, {
      autosize: true,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: ink },
      hoverlabel: { bgcolor: color("paper"), bordercolor: rule, align: "left", font: { color: ink, size: 12.5 } },
    });
    if (touch) layout.dragmode = false;
    for (const shape of layout.shapes || []) if (shape.name) shape.line.color = color(shape.name);
    if (layout.grid && narrow.matches) stack(layout);
    for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      Object.assign(layout[name], { gridcolor: rule, linecolor: rule, tickfont: { color: muted }, zeroline: false });
      if (layout[name].title) layout[name].title.font = { color: muted, size: 12.5 };
    }
    return copy;
  }

  // Plots that stand side by side stand one below the other where there is no room.
  function stack(layout) {
    const { rows, columns } = layout.grid;
    Object.assign(layout.grid, { rows: columns, columns: rows });
    layout.height *= columns;
    for (const [key, axis] of Object.entries(layout)) {
      if (/^yaxis\d+$/.test(key)) axis.title = structuredClone(layout.yaxis.title);
    }
  }

  function draw() {
    for (const [id, figure] of Object.entries(figures)) {
      const { data, layout } = painted(figure);
      Plotly.react(id, data, layout, {
        responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
      });
    }
  }

  function reveal() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
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

  draw();
  for (const id of Object.keys(figures)) document.getElementById(id).on("plotly_click", toRow);
  reveal();
  addEventListener("hashchange", reveal);
  for (const media of [dark, paper, narrow]) media.addEventListener("change", draw);
  addEventListener("beforeprint", () => Object.keys(figures).forEach((id) => Plotly.Plots.resize(id)));
  document.documentElement.dataset.ready = "true";
})();
