/** The Pareto front of a job: soups to choose from, each to download. */

import { byId, element, fillTable } from "./dom.js";
import { percent, scale, score, soup, weight } from "./format.js";
import { plotFront } from "./plots.js";

/** Show the front of `result`, when its `request` has one, and what is known of the soup chosen; models are at `url`. */
export function showFront(result, request, url) {
  const { front } = result;
  byId("front").hidden = !front.length;
  if (!front.length) return;
  const objectives = Object.keys(front[0].objectives);
  const scales = Object.fromEntries(objectives.map((name) => [name, scale(request.objectives?.find((each) => each.name === name)?.metric)]));
  const radios = front.map((each, place) => radio(each, place));
  fillTable(
    byId("front-table"),
    ["Soup", ...objectives, "NLL", ...Object.keys(result.weights)],
    front.map((each, place) => [
      element("label", {}, radios[place], ` #${place + 1}`),
      ...objectives.map((name) => score(each.objectives[name], scales[name])),
      each.nll?.toFixed(3) ?? "–",
      ...Object.values(each.weights).map(weight),
    ]),
  );
  const choose = (place) => {
    radios[place].checked = true;
    tellChosen(front[place], place, scales, url);
    plotFront(byId("front-plot"), front, scales, place, choose);
  };
  radios.forEach((each, place) => each.addEventListener("change", () => choose(place)));
  choose(Math.max(0, chosen(front)));
}

function radio(each, place) {
  return element("input", { type: "radio", name: "front", value: String(each.point), id: `front-${place}` });
}

/** Place of the soup that was chosen before the table was drawn again. */
function chosen(front) {
  const point = byId("front-download").dataset.point;
  return front.findIndex((each) => String(each.point) === point);
}

function tellChosen(each, place, scales, url) {
  const known = { ...each.objectives, ...each.metrics };
  const scores = Object.entries(known).map(([name, value]) => `${name} ${name in scales ? score(value, scales[name]) : percent(value)}`).join(" · ");
  byId("front-chosen").textContent = `Soup #${place + 1}: ${soup(each.weights)}. ${scores}.`;
  byId("front-download").dataset.point = String(each.point);
  byId("front-download").href = `${url}?point=${each.point}`;
  byId("front-download-timm").href = `${url}?point=${each.point}&format=timm`;
}
