/** The plots of a job, by Plotly. */

import { score, weight } from "./format.js";

const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#9a8f00", "#7a5cc4"];
const PATTERNS = ["", "/"];
const CONFIG = { displayModeBar: false };

/** A card's width changes without the window's: when its neighbour appears, say. */
const resizes = new ResizeObserver((entries) => {
  for (const { target } of entries) if (target.clientWidth) window.Plotly.Plots.resize(target);
});

function draw(place, traces, shape) {
  window.Plotly.react(place, traces, shape, CONFIG);
  resizes.observe(place);
}

function theme(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function layout(more) {
  const axis = { gridcolor: theme("line"), zerolinecolor: theme("muted"), fixedrange: true, automargin: true };
  return {
    ...more,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: theme("ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
    margin: { l: 8, r: 8, t: 8, b: 8 },
    xaxis: { ...axis, ...more.xaxis },
    yaxis: { ...axis, ...more.yaxis },
    hoverlabel: { bgcolor: theme("card"), font: { color: theme("ink") }, bordercolor: theme("muted") },
  };
}

/** Composition of soups: for each a stack of its weights, negative ones below zero (Croce et al., Fig. 7). */
export function plotTop(place, soups, ingredients, shown) {
  const ranks = soups.map((soup, index) => `#${index + 1}<br>${score(soup.score, shown)}`);
  const traces = ingredients.map((name, index) => ({
    type: "bar",
    name,
    x: ranks,
    y: soups.map((soup) => soup.weights[name]),
    marker: {
      color: COLOURS[index % COLOURS.length],
      pattern: { shape: PATTERNS[Math.floor(index / COLOURS.length) % 2] },
      line: { color: theme("card"), width: 1 },
    },
    text: soups.map((soup) => (Math.abs(soup.weights[name]) < 0.15 ? "" : weight(soup.weights[name]))),
    textposition: "inside",
    insidetextanchor: "middle",
    textangle: 0,
    textfont: { size: 11 },
    hovertemplate: `${name} %{y:.2f}<extra></extra>`,
  }));
  const shape = layout({
    barmode: "relative",
    bargap: 0.35,
    height: 340,
    xaxis: { type: "category" },
    yaxis: { title: { text: "weight" }, zeroline: true },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", traceorder: "normal" },
  });
  draw(place, traces, shape);
}

function dots(name, rows, marker, shift, { factor, digits, unit }) {
  return {
    type: "scatter",
    mode: "markers",
    name,
    x: rows.map((row) => factor * row.score),
    y: rows.map((row) => row.place + shift),
    marker,
    error_x: {
      type: "data",
      symmetric: false,
      array: rows.map((row) => factor * ((row.interval?.[1] ?? row.score) - row.score)),
      arrayminus: rows.map((row) => factor * (row.score - (row.interval?.[0] ?? row.score))),
      color: theme("muted"),
      thickness: 1.5,
      width: 4,
    },
    text: rows.map((row) => row.name),
    hovertemplate: `%{text} %{x:.${digits}f} ${unit}<extra>${name}</extra>`,
  };
}

/** The soup against what it is made of and the usual baselines, with intervals (Croce et al., Fig. 6). */
export function plotAgainst(place, rows, heldOut, what, shown) {
  const placed = rows.map((row, index) => ({ ...row, place: index }));
  const again = heldOut.map((row) => ({ ...row, place: rows.findIndex((each) => each.name === row.name) }));
  const shift = again.length ? 0.16 : 0;
  const colours = rows.map((row) => theme(row.isSoup ? "accent" : "quiet"));
  const sizes = rows.map((row) => (row.isSoup ? 14 : 10));
  const traces = [dots("selection images", placed, { color: colours, size: sizes, opacity: 1 }, -shift, shown)];
  if (again.length) {
    const marker = { symbol: "diamond-open", size: 11, color: theme("warn"), line: { width: 2 } };
    traces.push(dots("held-out images", again, marker, shift, shown));
  }
  const shape = layout({
    height: 90 + 40 * rows.length,
    showlegend: again.length > 0,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
    xaxis: { title: { text: `${what}, ${shown.unit}` }, zeroline: false },
    yaxis: {
      zeroline: false,
      range: [rows.length - 0.5, -0.5],
      tickvals: rows.map((_, index) => index),
      ticktext: rows.map((row) => (row.isSoup ? `<b>${row.name}</b>` : row.name)),
    },
  });
  draw(place, traces, shape);
}

/** Each soup's score by its place in the search, and the best up to there. */
export function plotSearch(place, points, { factor, digits, unit }) {
  const entries = [...points].sort((first, second) => first[0] - second[0]);
  const index = entries.map(([each]) => each + 1);
  const scores = entries.map(([, each]) => factor * each);
  let best = -Infinity;
  const running = scores.map((each) => (best = Math.max(best, each)));
  const traces = [
    { type: "scatter", mode: "markers", name: "soup", x: index, y: scores, marker: { color: theme("muted"), size: 4, opacity: 0.6 }, hovertemplate: `soup %{x}: %{y:.${digits}f} ${unit}<extra></extra>` },
    { type: "scatter", mode: "lines", name: "best so far", x: index, y: running, line: { color: theme("accent"), width: 2.5, shape: "hv" }, hoverinfo: "skip" },
  ];
  const shape = layout({
    height: 340,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
    xaxis: { title: { text: "soup" }, zeroline: false },
    yaxis: { title: { text: `score, ${unit}` }, zeroline: false },
  });
  draw(place, traces, shape);
}

/** A front in its first two objectives, the soup at `chosen` filled; `choose` is called with the place of a click. */
export function plotFront(place, front, scales, chosen, choose) {
  const objectives = Object.keys(scales);
  const [across, up] = objectives.map((name) => front.map((each) => scales[name].factor * each.objectives[name]));
  const trace = {
    type: "scatter",
    mode: objectives.length > 2 ? "markers" : "lines+markers",
    x: across,
    y: up,
    line: { color: theme("line"), shape: "linear" },
    marker: {
      size: front.map((_, index) => (index === chosen ? 16 : 10)),
      color: front.map((_, index) => theme(index === chosen ? "accent" : "card")),
      line: { color: theme("accent"), width: 2 },
    },
    text: front.map((each, index) => hoverText(each, index, scales)),
    hovertemplate: "%{text}<extra></extra>",
  };
  const shape = layout({
    height: 360,
    xaxis: { title: { text: `${objectives[0]}, ${scales[objectives[0]].unit}` }, zeroline: false },
    yaxis: { title: { text: `${objectives[1]}, ${scales[objectives[1]].unit}` }, zeroline: false },
  });
  draw(place, [trace], shape);
  place.removeAllListeners("plotly_click");
  place.on("plotly_click", (event) => choose(event.points[0].pointIndex));
}

function hoverText(each, index, scales) {
  const scores = Object.entries(each.objectives).map(([name, value]) => `${name} ${score(value, scales[name])}`);
  const weights = Object.entries(each.weights).map(([name, value]) => `${name} ${weight(value)}`);
  return [`#${index + 1}`, ...scores, ...weights].join("<br>");
}
