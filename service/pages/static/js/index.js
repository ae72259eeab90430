/** The page of jobs. */

import { get } from "./api.js";
import { byId, element, tell } from "./dom.js";
import { count, metricOf, scale, score, time } from "./format.js";
import { followForm } from "./upload.js";

const REFRESH = 2000;
const PAGE = 20;
/** What a job does that has not ended, and whose search has not begun. */
const PREPARING = { paused: "not begun", cancelling: "ending" };
let limit = PAGE;

function progressCell(job) {
  const { done, total } = job.progress;
  if (job.status === "queued") return `place ${job.queue_position + 1} in the queue`;
  if (!total) return job.is_terminal ? "ended before its search" : PREPARING[job.status] ?? "preparing";
  const bar = element("progress", { max: total, value: done });
  bar.setAttribute("aria-label", `${done} of ${total} soups`);
  return element("span", {}, bar, `${count(done)} of ${count(total)}`);
}

function row(job) {
  const link = element("a", { href: `/jobs/${job.id}/view` }, job.id.slice(0, 8));
  const badge = element("span", { className: `badge ${job.status}` }, job.status);
  const best = job.result?.score ?? job.best?.score;
  return element(
    "tr",
    {},
    element("td", {}, link),
    element("td", {}, job.request.request.pantry),
    element("td", {}, badge),
    element("td", {}, progressCell(job)),
    element("td", { className: "number" }, score(best, scale(metricOf(job.request.request)))),
    element("td", {}, element("time", { dateTime: job.created_at }, time(job.created_at))),
  );
}

function showJobs(page) {
  const body = byId("jobs").tBodies[0];
  const focused = body.contains(document.activeElement) ? document.activeElement.href : null;
  const empty = element("tr", {}, element("td", { colSpan: 6, className: "quiet" }, "No jobs yet. Drop an archive above to start one."));
  body.replaceChildren(...(page.items.length ? page.items.map(row) : [empty]));
  byId("older").hidden = !page.next || limit >= 200;
  if (focused) [...body.querySelectorAll("a")].find((link) => link.href === focused)?.focus();
}

async function refresh() {
  if (document.hidden) return;
  try {
    showJobs(await get(`/jobs?limit=${limit}`));
    tell("trouble", null);
  } catch (error) {
    tell("trouble", error.message);
  }
}

function pantryCard(pantry) {
  const size = pantry.input_size.join(" × ");
  const facts = `${pantry.architecture} · ${count(pantry.parameters)} parameters · ${pantry.num_classes} classes · ${size}`;
  const chips = pantry.ingredients.map((each) => element("li", { className: "badge" }, each.name));
  return element("div", { className: "pantry" }, element("h3", {}, pantry.name), element("p", { className: "quiet" }, facts), element("ul", { className: "chips" }, ...chips));
}

async function showPantries() {
  const place = byId("pantries");
  try {
    const { items } = await get("/pantries");
    byId("pantry").replaceChildren(...items.map((each) => element("option", {}, each.name)));
    place.replaceChildren(...items.map(pantryCard));
    if (!items.length) {
      place.replaceChildren(element("p", { className: "quiet" }, "None yet. Add one: "), element("code", {}, "soupsearch pantry add NAME DIR…"));
    }
  } catch (error) {
    place.replaceChildren(element("p", { className: "notice error" }, error.message));
  }
}

byId("older").addEventListener("click", () => {
  limit = Math.min(limit + PAGE, 200);
  refresh();
});
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, REFRESH);
followForm();
showPantries();
refresh();
