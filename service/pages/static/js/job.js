/** The page of a job: follows it to its download. */

import { get, post } from "./api.js";
import { byId, element, tell } from "./dom.js";
import { count, metricOf, scale, score, seconds, soup, time } from "./format.js";
import { showFront } from "./front.js";
import { Live, follow } from "./live.js";
import { plotSearch, plotTop } from "./plots.js";
import { showResult, tabulateTop } from "./result.js";

const DRAW = 400;
const PAGE = 10000;
/** What a user may do with a job, by its status. */
const CALLS = { pause: ["queued", "running"], resume: ["paused"], cancel: ["queued", "running", "paused"] };
const root = byId("job");
let job = null;
let live = null;
let drawing = null;

function showStatus(status) {
  const badge = byId("status");
  if (badge.textContent !== status) badge.textContent = status;
  badge.className = `badge ${status}`;
  for (const [name, statuses] of Object.entries(CALLS)) byId(name).hidden = !statuses.includes(status);
}

function showProgress(progress, status) {
  if (status === "running" && !progress?.done) {
    byId("pace").textContent = "Preparing: reading the images and scoring the ingredients.";
    return;
  }
  if (status === "paused") {
    const tried = progress?.done ? ` after ${count(progress.done)} soups, which are kept` : "";
    byId("pace").textContent = `Paused${tried}. The job goes on when you resume it.`;
    return;
  }
  if (!progress?.total) return;
  const bar = byId("bar");
  bar.max = progress.total;
  bar.value = progress.done;
  const parts = [`${count(progress.done)} of ${count(progress.total)} soups`];
  if (progress.rate) parts.push(`${progress.rate.toFixed(1)} per second`);
  const left = progress.estimated_finish ? (new Date(progress.estimated_finish) - Date.now()) / 1000 : 0;
  if (status === "running" && left > 0) parts.push(`about ${seconds(left)} left`);
  byId("pace").textContent = parts.join(" · ");
}

function showQueue() {
  if (job.status !== "queued") return;
  byId("pace").textContent = job.queue_position ? `Waiting: ${job.queue_position} jobs are ahead.` : "Waiting: next to run.";
}

function showWarnings(warnings) {
  byId("warnings").replaceChildren(...warnings.map((each) => element("li", { className: "notice" }, each.message)));
}

function showTop(soups, isFinal) {
  byId("top").hidden = !soups.length;
  if (!soups.length) return;
  byId("top-count").textContent = soups.length === 5 ? "five" : String(soups.length);
  byId("so-far").hidden = isFinal;
  const metric = metricOf(job.request.request);
  plotTop(byId("top-plot"), soups, job.request.ingredients, scale(metric));
  tabulateTop(soups, job.request.ingredients, metric);
}

function draw() {
  drawing = null;
  const status = live.status ?? job.status;
  showStatus(status);
  showProgress(live.progress, status);
  showWarnings([...live.warnings.values()]);
  if (live.best) byId("best").textContent = `Best so far ${score(live.best.score, scale(metricOf(job.request.request)))}: ${soup(live.best.weights)}`;
  byId("best-actions").hidden = !live.best;
  if (job.result) return;
  showTop(live.topSoups(), false);
  showSearch();
}

function showSearch() {
  byId("search").hidden = !live.points.size;
  if (live.points.size) plotSearch(byId("search-plot"), live.points, scale(metricOf(job.request.request)));
}

function drawSoon() {
  drawing ??= setTimeout(draw, DRAW);
}

async function takeAllPoints() {
  let after = "";
  do {
    const page = await get(`${root.dataset.url}/points?limit=${PAGE}${after}`);
    for (const point of page.items) live.take("point", point);
    after = page.next == null ? null : `&after=${page.next}`;
  } while (after);
}

function showEnd() {
  clearTimeout(drawing);
  showStatus(job.status);
  showProgress(job.progress, job.status);
  showWarnings(job.warnings);
  byId("best").textContent = "";
  byId("best-actions").hidden = true;
  tell("error", job.error ? [job.error.message, ...job.error.attempts].join(" · ") : null);
  if (!job.progress.total) byId("pace").textContent = "The job ended before its search began.";
  byId("when").textContent = `created ${time(job.created_at)} · ended ${time(job.finished_at)}`;
}

async function finish() {
  job = await get(root.dataset.url);
  showEnd();
  if (job.result) {
    showResult(job.result, job.request.request);
    showFront(job.result, job.request.request, job.urls.model);
    showTop(job.result.top.slice(0, 5), true);
  }
  await takeAllPoints();
  if (!job.result) showTop(live.topSoups(), true);
  showSearch();
}

async function call(name) {
  byId(name).disabled = true;
  try {
    job = await post(job.urls[name]);
    showStatus(job.status);
    showQueue();
  } catch (error) {
    tell("error", error.message);
  } finally {
    byId(name).disabled = false;
  }
}

async function redraw() {
  if (job?.is_terminal) await finish();
  else draw();
}

async function begin() {
  job = await get(root.dataset.url);
  live = new Live(job.request.ingredients);
  byId("when").textContent = `created ${time(job.created_at)}`;
  for (const name of Object.keys(CALLS)) byId(name).addEventListener("click", () => call(name));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  if (job.is_terminal) return finish();
  showStatus(job.status);
  showQueue();
  follow(root.dataset.events, live, drawSoon, finish);
}

begin().catch((error) => tell("error", error.message));
