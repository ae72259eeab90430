/** What the events of a job tell, gathered. */

const KEPT = 5;

/** Better soups first: constraints, score, then negative log-likelihood, then the search's own order. */
function byRank(first, second) {
  return (first.violation ?? 0) - (second.violation ?? 0) || second.score - first.score || (first.nll ?? Infinity) - (second.nll ?? Infinity) || first.index - second.index;
}

export class Live {
  constructor(ingredients) {
    this.ingredients = ingredients;
    this.reset();
  }

  reset() {
    this.progress = null;
    this.best = null;
    this.status = null;
    this.warnings = new Map();
    this.top = [];
    this.points = new Map();
  }

  /** Take one event's data by its type. */
  take(type, data) {
    if (type === "progress") this.progress = data;
    else if (type === "best") this.best = data;
    else if (type === "status" || type === "end") this.status = data.status;
    else if (type === "warning") this.warnings.set(data.code + data.message, data);
    else if (type === "point") this.takePoint(data);
  }

  takePoint(point) {
    if (point.score == null || this.points.has(point.index)) return;
    this.points.set(point.index, point.score);
    this.top = [...this.top, point].sort(byRank).slice(0, KEPT);
  }

  /** The best soups so far, as a result lists them. */
  topSoups() {
    return this.top.map((point) => ({
      point: point.index,
      score: point.score,
      nll: point.nll,
      weights: Object.fromEntries(this.ingredients.map((name, place) => [name, point.weights[place]])),
    }));
  }
}

const TYPES = ["status", "progress", "point", "best", "warning", "end"];
const RETRY = 3000;

/** Follow the job's events to its end; `changed` is called after each, `ended` once. */
export function follow(url, live, changed, ended) {
  const source = new EventSource(url);
  for (const type of TYPES) {
    source.addEventListener(type, (event) => {
      live.take(type, JSON.parse(event.data));
      changed();
      if (type === "end") {
        source.close();
        ended();
      }
    });
  }
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return;
    live.reset();
    setTimeout(() => follow(url, live, changed, ended), RETRY);
  });
}
