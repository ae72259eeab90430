/** Numbers and times as people read them. */

export function percent(value, digits = 1) {
  return value == null ? "–" : `${(100 * value).toFixed(digits)} %`;
}

const SHARE = { unit: "%", factor: 100, digits: 1 };
const LIKELIHOOD = { unit: "nats", factor: 1, digits: 3 };

/** How scores of a metric are shown; for nll they are negative, and more is better all the same. */
export function scale(metric) {
  return metric === "nll" || metric === "mutual_information" ? LIKELIHOOD : SHARE;
}

export function score(value, { unit, factor, digits }) {
  return value == null ? "–" : `${(factor * value).toFixed(digits).replace("-", "−")} ${unit}`;
}

export function scoreInterval(range, shown) {
  return range ? `${score(range[0], { ...shown, unit: "" }).trim()} to ${score(range[1], shown)}` : "–";
}

/** `text` as a title begins. */
export function capital(text) {
  return text[0].toUpperCase() + text.slice(1);
}

/** What a request ranks soups by. */
export function metricOf(request) {
  return (request.objective ?? request.objectives[0]).metric;
}

export function weight(value) {
  return (Math.abs(value) < 1e-9 ? 0 : value).toFixed(2).replace("-", "−");
}

export function soup(weights) {
  return Object.entries(weights).map(([name, value]) => `${name} ${weight(value)}`).join(" · ");
}

export function count(value) {
  return new Intl.NumberFormat("en").format(value);
}

export function bytes(value) {
  const units = ["bytes", "kB", "MB", "GB"];
  const power = Math.min(3, Math.floor(Math.log10(Math.max(value, 1)) / 3));
  return power ? `${(value / 1000 ** power).toFixed(1)} ${units[power]}` : `${value} bytes`;
}

export function time(text) {
  return new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(new Date(text));
}

export function seconds(value) {
  if (value < 1) return "less than a second";
  if (value < 90) return `${Math.round(value)} s`;
  return value < 5400 ? `${Math.round(value / 60)} min` : `${(value / 3600).toFixed(1)} h`;
}
