"use strict";
// Draws the figures in the page's own colors, and keeps links, printing and theme in step.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)").matches;
  const paper = matchMedia("print");

  const color = (role) =>
    getComputedStyle(document.documentElement).getPropertyValue("--" + role.replace(/_/g, "-")).trim();

  function painted(figure) {
    const copy = structuredClone(figure);
    const ink = color("ink"), rule = color("rule"), muted = color("muted");
    for (const trace of copy.data) {
      const own = color(trace.meta.role);
      if (trace.marker) trace.marker.color = own;
      if (trace.line) trace.line.color = own;
      if (trace.error_y) trace.error_y.color = own;
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
    for (const name of ["xaxis", "yaxis", "yaxis2"]) {
      if (!layout[name]) continue;
      Object.assign(layout[name], { gridcolor: rule, linecolor: rule, tickfont: { color: muted }, zeroline: false });
      if (layout[name].title) layout[name].title.font = { color: muted, size: 12.5 };
    }
    return copy;
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

  function toTrial(event) {
    const number = event.points[0].customdata;
    if (number === undefined || number === null) return;
    location.hash = "";
    location.hash = "trial-" + number;
  }

  draw();
  for (const id of Object.keys(figures)) document.getElementById(id).on("plotly_click", toTrial);
  reveal();
  addEventListener("hashchange", reveal);
  for (const media of [dark, paper]) media.addEventListener("change", draw);
  addEventListener("beforeprint", () => Object.keys(figures).forEach((id) => Plotly.Plots.resize(id)));
  document.documentElement.dataset.ready = "true";
})();
