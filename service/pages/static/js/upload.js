/** The form that starts a job. */

import { upload } from "./api.js";
import { byId, tell } from "./dom.js";
import { bytes, count, seconds } from "./format.js";

function showChosen() {
  const file = byId("file").files[0];
  byId("chosen").textContent = file ? `${file.name} (${bytes(file.size)})` : "";
}

function acceptDrops() {
  const drop = byId("drop");
  const isOver = (over) => (event) => {
    event.preventDefault();
    drop.classList.toggle("over", over);
  };
  drop.addEventListener("dragover", isOver(true));
  drop.addEventListener("dragleave", isOver(false));
  drop.addEventListener("drop", (event) => {
    isOver(false)(event);
    if (event.dataTransfer.files.length) byId("file").files = event.dataTransfer.files;
    showChosen();
  });
  byId("file").addEventListener("change", showChosen);
}

function request() {
  const number = (id) => byId(id).valueAsNumber;
  return {
    pantry: byId("pantry").value,
    preset: byId("preset").value,
    search: { lower: number("lower"), upper: number("upper"), step: number("step"), convex: byId("convex").checked },
    precision: byId("precision").value,
    held_out_fraction: number("held-out"),
  };
}

/** Send the form to `url`; the buttons wait until it has been answered. */
async function send(url) {
  const form = new FormData();
  form.append("request", new Blob([JSON.stringify(request())], { type: "application/json" }));
  form.append("adaptation_set", byId("file").files[0]);
  tell("refusal", null);
  tell("cost", null);
  const buttons = [byId("start"), byId("estimate")];
  for (const button of buttons) button.disabled = true;
  byId("upload").hidden = false;
  try {
    return await upload(url, form, (share) => (byId("upload").value = share));
  } catch (error) {
    tell("refusal", error.message);
    return null;
  } finally {
    for (const button of buttons) button.disabled = false;
    byId("upload").hidden = true;
  }
}

async function start(event) {
  event.preventDefault();
  const job = await send("/adapt");
  if (job) location.assign(`/jobs/${job.id}/view`);
}

async function estimate() {
  if (!byId("adapt").reportValidity()) return;
  const cost = await send("/adapt?dry_run=true");
  if (!cost) return;
  const time = cost.seconds == null ? "" : `, about ${seconds(cost.seconds)} of searching`;
  const said = [`At most ${count(cost.evaluations)} soups and ${count(cost.forward_passes)} forward passes${time}.`];
  tell("cost", [...said, ...cost.warnings.map((each) => `Note: ${each.message}.`)].join(" "));
}

/** Make the form work. */
export function followForm() {
  acceptDrops();
  byId("adapt").addEventListener("submit", start);
  byId("estimate").addEventListener("click", estimate);
}
