/** The form that starts a job. */

import { upload } from "./api.js";
import { byId, tell } from "./dom.js";
import { bytes } from "./format.js";

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

async function start(event) {
  event.preventDefault();
  const form = new FormData();
  form.append("request", new Blob([JSON.stringify(request())], { type: "application/json" }));
  form.append("adaptation_set", byId("file").files[0]);
  tell("refusal", null);
  byId("start").disabled = true;
  byId("upload").hidden = false;
  try {
    const job = await upload("/adapt", form, (share) => (byId("upload").value = share));
    location.assign(`/jobs/${job.id}/view`);
  } catch (error) {
    tell("refusal", error.message);
    byId("start").disabled = false;
    byId("upload").hidden = true;
  }
}

/** Make the form work. */
export function followForm() {
  acceptDrops();
  byId("adapt").addEventListener("submit", start);
}
