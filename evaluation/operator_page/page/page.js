// The operator's page. It holds no state of its own: four times a second it asks what is asked, and shows that.
"use strict";

const POLL_MS = 250;
const CAMERA_MS = 150;
const PATIENCE_MS = 4000;
const TOKEN = new URLSearchParams(location.search).get("token") || "";
const CLIENT = Array.from(crypto.getRandomValues(new Uint8Array(9)), (b) => b.toString(16).padStart(2, "0")).join("");
// Keys of the answers; what clears a stop or moves the arm home has none
const ANSWERS = { clear: "", resume: "", home: "", placed: "", start: " ", success: "1", failure: "2", void: "3" };
const SHOWN = {
  homing: ["home"], placing: ["placed"], ready: ["start"], verdict: ["success", "failure", "void"],
  stopped: ["clear"], paused: ["resume"],
};
const at = (id) => document.getElementById(id);
let shown = { key: "", phase: "", answers: [] };
let picture = 0;
let pictureUrl = "";

async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${TOKEN}` };
  const timed = { signal: AbortSignal.timeout(PATIENCE_MS), cache: "no-store" };
  return fetch(path, { ...timed, ...options, headers });
}

function say(id, text) {
  // Only when it changes: a screen reader reads a live region aloud each time
  if (at(id).textContent !== text) at(id).textContent = text;
}

function badge(id, text, kind) {
  say(id, text);
  at(id).className = `badge ${kind}`;
}

function show(state) {
  const before = shown;
  shown = state;
  say("session", `Session ${state.session}`);
  const again = state.attempt ? `, attempt ${state.attempt + 1}` : "";
  const title = state.phase === "done" ? "Session finished" : "Waiting for the session";
  say("trial", state.number ? `Trial ${state.number} of ${state.total}${again}` : title);
  at("progress").max = Math.max(1, state.total);
  at("progress").value = state.phase === "done" ? state.total : Math.max(0, state.number - 1);
  say("policy", state.code ? `Policy ${state.code}` : "");
  say("text", state.text);
  say("problem", state.problem);
  say("x", state.number ? state.x.toFixed(3) : "–");
  say("y", state.number ? state.y.toFixed(3) : "–");
  const running = state.phase === "running";
  say("elapsed", running ? state.elapsed.toFixed(1) : "0.0");
  say("limit", running ? `of at most ${state.timeout.toFixed(1)} s` : "");
  for (const id of Object.keys(ANSWERS)) {
    at(id).disabled = !state.answers.includes(id);
    at(id).hidden = !(SHOWN[state.phase] || []).includes(id);
  }
  const good = ["ready", "moving"].includes(state.gate.state);
  const bad = ["stopped", "stopping"].includes(state.gate.state);
  badge("gate", `gate: ${state.gate.state}${state.gate.reason ? `, ${state.gate.reason}` : ""}`, good ? "good" : bad ? "bad" : "");
  const others = state.pages > 1 ? `, ${state.pages} pages open` : "";
  badge("link", `connected${others}`, "good");
  if (state.key !== before.key && state.phase === "running") at("note").value = "";
  at("camera").alt = state.number
    ? `Live camera; a ring marks where the object belongs, x ${state.x.toFixed(3)} m, y ${state.y.toFixed(3)} m`
    : "Live camera";
  document.body.dataset.phase = state.phase;
}

async function poll() {
  try {
    const response = await ask(`/state?client=${CLIENT}`);
    const state = await response.json();
    if (!response.ok) throw new Error(state.error);
    show(state);
  } catch (error) {
    const text = error.name === "TimeoutError" || error instanceof TypeError ? "no connection to the session" : error.message;
    badge("link", text, "bad");
    for (const id of Object.keys(ANSWERS)) at(id).disabled = true;
  }
  setTimeout(poll, POLL_MS);
}

async function watch() {
  try {
    if (shown.frame && shown.frame !== picture) {
      const response = await ask("/camera.jpg");
      if (response.ok) {
        picture = shown.frame;
        const url = URL.createObjectURL(await response.blob());
        at("camera").src = url;
        if (pictureUrl) URL.revokeObjectURL(pictureUrl);
        pictureUrl = url;
      }
    }
  } catch (error) {
    // The link's badge says it already
  }
  setTimeout(watch, CAMERA_MS);
}

async function hand_in(answer) {
  const note = at("note").value;
  if (answer !== "stop") for (const id of Object.keys(ANSWERS)) at(id).disabled = true;
  try {
    const body = JSON.stringify({ key: shown.key, answer, note });
    const response = await ask("/answer", { method: "POST", body });
    if (!response.ok) say("problem", (await response.json()).error);
    if (response.ok && answer === "stop") say("text", "Stop requested.");
  } catch (error) {
    say("problem", answer === "stop" ? "STOP did not get through: use the emergency stop" : "no connection: answer again");
  }
}

for (const id of [...Object.keys(ANSWERS), "stop"]) at(id).addEventListener("click", () => hand_in(id));

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    event.preventDefault();
    hand_in("stop");
    return;
  }
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  if (["TEXTAREA", "BUTTON"].includes(document.activeElement.tagName) && (event.key === " " || document.activeElement.id === "note")) return;
  const id = Object.keys(ANSWERS).find((each) => ANSWERS[each] && ANSWERS[each] === event.key);
  if (id && !at(id).disabled) {
    event.preventDefault();
    hand_in(id);
  }
});

poll();
watch();
