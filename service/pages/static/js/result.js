/** Says what a job found. */

import { byId, element, fillTable } from "./dom.js";
import { bytes, capital, count, percent, scale, score, scoreInterval, seconds, soup, weight } from "./format.js";
import { plotAgainst } from "./plots.js";

const SHORT = 12;

/** A soup and its baselines, as rows of name, score, nll and interval; best ingredients first. */
function rowsOf(found, { ingredients, uniform_soup, logit_ensemble, softmax_ensemble, reference, adapted_statistics, refitted_head }) {
  const singles = Object.entries(ingredients).sort(([, first], [, second]) => second.score - first.score);
  const others = { "uniform soup": uniform_soup, "logit ensemble": logit_ensemble, "softmax ensemble": softmax_ensemble, reference };
  const refined = [["adapted statistics", adapted_statistics], ["refitted last layer", refitted_head]]
    .filter(([, score]) => score)
    .map(([change, score]) => [`${score.ingredient}, ${change}`, score]);
  const known = [...singles, ...refined, ...Object.entries(others)].filter(([, score]) => score);
  return [{ ...found, name: "the soup", isSoup: true }, ...known.map(([name, score]) => ({ ...score, name }))];
}

function comparison(result) {
  const { nll, interval, metrics } = result;
  return rowsOf({ score: result.score, nll, interval, metrics }, result.baselines);
}

function heldOutRows(result) {
  return result.held_out ? rowsOf(result.held_out.soup, result.held_out) : [];
}

function pValue(test) {
  return test.p_value == null ? "95 % interval" : `p = ${test.p_value.toPrecision(2)}`;
}

/** How far the soup is from the best ingredient, with interval and test. */
function differenceText(test, metric) {
  const shown = scale(metric);
  const points = { ...shown, unit: shown.unit === "%" ? "points" : shown.unit };
  const range = scoreInterval(test.interval, { ...shown, unit: "" }).trim();
  return `${score(test.difference, points)} (${range}; ${pValue(test)})`;
}

function refinementText({ statistics, head, temperature, images }) {
  const parts = [];
  if (statistics === "adapted") parts.push("adapted BatchNorm statistics");
  if (head === "refit") parts.push("refitted last layer");
  if (temperature !== null) parts.push(`temperature ${temperature.toFixed(2)}`);
  return `${parts.join(", ")}; from ${count(images)} images`;
}

const LAYERS = {
  one: "the same in all layers: others were tried",
  head: "the last layer has its own",
  slope: "they change linearly with depth",
  thirds: "early, middle and late layers have their own",
  blocks: "every layer has its own",
};

function layersText({ kind, images }) {
  return `${LAYERS[kind]}; from ${count(images)} images`;
}

/** What the score is. */
export function measure(result) {
  return result.metric === "nll" ? "log-likelihood" : result.metric.replace("_", " ");
}

/** What an objective or a constraint measures, and on which sets when not on all. */
function measuredText({ metric, threats, over_threats, adaptation_sets }) {
  const names = (threats ?? []).map((threat) => `${threat.norm}:${threat.eps}`);
  const name = names.length ? `robust accuracy (${[...names, names.length > 1 ? over_threats : ""].join(" ").trim()})` : metric;
  return adaptation_sets ? `${name} on set ${adaptation_sets.map(short).join(", ")}` : name;
}

function short(id) {
  return id.slice(0, SHORT);
}

function constraintText({ constraint, value, holds }) {
  return `${measuredText(constraint)} ${percent(value)}, ${holds ? "at least" : "less than"} ${percent(constraint.at_least)}`;
}

function scored(each, metric) {
  return `${score(each.score, scale(metric))} (${scoreInterval(each.interval, scale(metric))})`;
}

function objectiveFacts({ objective, objectives }) {
  const named = objectives ? objectives.map((each) => [`Objective ${each.name}`, each]) : [["Objective", objective]];
  return Object.fromEntries(named.map(([name, each]) => [name, measuredText(each)]));
}

function labelFreeText({ labelled, unlabelled, weight, doubts }) {
  const images = labelled ? `${count(labelled)} images with a label and ${count(unlabelled)} without` : `${count(unlabelled)} images, none with a label`;
  return `${images}, whose mutual information counts ${weight.toFixed(2)}; ${doubts.length ? "not to be trusted" : "no alarm"}`;
}

function facts(result, request) {
  const { cost, model, constraints } = result;
  const known = {
    ...objectiveFacts(request),
    Score: scored(result, result.metric),
    Soup: soup(result.weights),
    Model: `${bytes(model.bytes)}, sha256 ${model.sha256.slice(0, 12)}…`,
    Search: `${count(cost.evaluations)} soups on ${count(cost.images)} images in ${seconds(cost.seconds)}`,
    "Forward passes": `${count(cost.forward_passes)} of ${count(cost.grid_forward_passes)} in a plain grid`,
  };
  if (result.label_free) known["Chosen by"] = labelFreeText(result.label_free);
  if (result.label_next.length) known["Label next"] = result.label_next.map((each) => each.image).join(", ");
  if (result.refinement) known.Refinement = refinementText(result.refinement);
  if (result.layers) known["Weights by layer"] = layersText(result.layers);
  if (result.paired_test) known[`Difference from ${result.paired_test.against}`] = differenceText(result.paired_test, result.metric);
  if (cost.backward_passes) known["Backward passes"] = count(cost.backward_passes);
  for (const [name, value] of Object.entries(result.metrics)) known[capital(name)] = percent(value);
  const sets = Object.entries(result.per_set);
  if (sets.length > 1) for (const [id, each] of sets) known[`On set ${short(id)}`] = scored(each, result.metric);
  constraints.forEach((each, place) => (known[`Constraint ${place + 1}`] = constraintText(each)));
  if (result.cross_validated) known["Choice cross-validated"] = scored(result.cross_validated, result.metric);
  if (result.held_out) known["On held-out images"] = scored(result.held_out.soup, result.metric);
  if (result.floored_channels) known["BatchNorm channels floored"] = count(result.floored_channels);
  return Object.entries(known).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));
}

/** Fill the table of the best soups. */
export function tabulateTop(soups, ingredients, metric) {
  const rows = soups.map((each, index) => [`#${index + 1}`, each.point == null ? "–" : String(each.point), score(each.score, scale(metric)), each.nll?.toFixed(3) ?? "–", ...ingredients.map((name) => weight(each.weights[name]))]);
  fillTable(byId("top-table"), ["Rank", "Point", "Score", "NLL", ...ingredients], rows);
}

function showAgainst(result) {
  byId("against").hidden = !result.baselines;
  if (!result.baselines) return;
  const rows = comparison(result);
  const heldOut = heldOutRows(result);
  byId("held-out-note").textContent = heldOut.length ? `, and on ${count(result.held_out.images)} held-out images` : "";
  const what = measure(result);
  byId("against-what").textContent = capital(what);
  const metrics = Object.keys(result.metrics);
  const shown = scale(result.metric);
  plotAgainst(byId("against-plot"), rows, heldOut, what, shown);
  const apart = (name) => {
    const found = heldOut.find((row) => row.name === name);
    return heldOut.length ? [score(found?.score, shown), scoreInterval(found?.interval, shown)] : [];
  };
  fillTable(
    byId("against-table"),
    ["Model", "Score", "95 % interval", "NLL", ...metrics.map(capital), ...(heldOut.length ? ["Held out", "95 % interval"] : [])],
    rows.map((row) => [
      row.name,
      score(row.score, shown),
      scoreInterval(row.interval, shown),
      row.nll?.toFixed(3) ?? "–",
      ...metrics.map((name) => percent(row.metrics[name])),
      ...apart(row.name),
    ]),
  );
}

/** Show the result of a job that has one, and what its `request` asked for. */
export function showResult(result, request) {
  byId("result").hidden = false;
  byId("verdict").textContent = result.summary;
  byId("facts").replaceChildren(...facts(result, request));
  showAgainst(result);
}
