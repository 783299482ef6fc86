// The operator's page. What it shows is the session's: four times a second it asks what is asked, and shows that.
// It keeps three things of its own across a reload: the note being written, the operator's name, and the role.
"use strict";

const POLL_MS = 250;
const CAMERA_MS = 150;
const PATIENCE_MS = 4000;
const ARMED_MS = 500; // a second tap meant for the former question finds no button yet
const TOKEN = new URLSearchParams(location.search).get("token") || "";
const CLIENT = Array.from(crypto.getRandomValues(new Uint8Array(9)), (b) => b.toString(16).padStart(2, "0")).join("");
// Keys of the answers; what clears a stop or moves the arm home has none
const ANSWERS = { clear: "", resume: "", home: "", placed: "", start: " ", success: "1", failure: "2", void: "3", finish: "", undo: "" };
const SHOWN = {
  homing: ["home"], placing: ["placed"], ready: ["start"], verdict: ["success", "failure", "void"],
  stopped: ["clear"], paused: ["resume"], done: ["finish"],
};
// Keys that steer a teleoperated arm while they are held, as on a terminal
const STEER = new Set("wsadrfqeoch");
const STEER_MS = 50;
const SIGNS = { success: "✓", failure: "✗" };
const at = (id) => document.getElementById(id);
let shown = { key: "", phase: "", answers: [], number: 0, attempt: 0 };
let armedAt = 0;
let picture = 0;
let pictureUrl = "";
const held = new Set();
let steering = false;

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

function recall(name) {
  try { return localStorage.getItem(`sim2real ${name}`) || ""; } catch (error) { return ""; }
}

function keep(name, text) {
  try {
    if (text) localStorage.setItem(`sim2real ${name}`, text);
    else localStorage.removeItem(`sim2real ${name}`);
  } catch (error) {
    // Without storage the page works until it is reloaded
  }
}

const role = () => document.querySelector("input[name=role]:checked").value;
const noteOf = (state) => `note ${state.session} ${state.number}.${state.attempt}`;

const waits = (state) => state.answers.includes("finish"); // then the last verdict can still be undone

function phaseText(state, moving) {
  if (role() === "second") return state.second ? "How did it end?" : moving ? "The arm moves" : "Wait for the end of a trial";
  if (moving) return state.phase === "homing" ? "Arm moves home" : "Arm moves";
  const words = {
    starting: "Starting", homing: "Move home?", placing: state.answers.length ? "Place the object" : "Being placed",
    ready: "Ready to start", verdict: "How did it end?", stopped: "Stopped", paused: "Paused",
    done: waits(state) ? "All trials done" : "Finished",
  };
  return words[state.phase] || state.phase;
}

function minutes(seconds) {
  const all = Math.round(seconds / 60);
  if (all < 1) return "less than a minute left";
  return all < 60 ? `about ${all} min left` : `about ${Math.floor(all / 60)} h ${all % 60} min left`;
}

function showPast(past) {
  at("past-trials").hidden = !past.length;
  const lines = past.map((t) => [t.verdict.split(" ")[0].replace(/[^a-z]/g, ""),
    `${t.number}${t.attempt ? ` (attempt ${t.attempt + 1})` : ""}: ${t.verdict}${t.note ? ` · ${t.note}` : ""}`]).reverse();
  const text = JSON.stringify(lines);
  if (at("past").dataset.shown === text) return;
  at("past").dataset.shown = text;
  at("past").replaceChildren(...lines.map(([kind, line]) => {
    const item = document.createElement("li");
    const sign = document.createElement("b");
    sign.textContent = SIGNS[kind] || "–";
    item.className = kind;
    item.append(sign, line);
    return item;
  }));
}

function show(state) {
  const before = shown;
  const second = role() === "second";
  if (second) {
    state.answers = state.second ? ["success", "failure"] : [];
    state.key = state.second || state.key;
  }
  shown = state;
  if (state.key !== before.key) {
    armedAt = performance.now() + (before.key ? ARMED_MS : 0);
    say("problem", "");
  }
  say("session", `Session ${state.session}`);
  say("left", state.phase === "done" ? "" : [
    state.total ? `${state.total - Math.max(0, state.number - 1)} trials to go` : "",
    state.left_s === null ? "" : minutes(state.left_s),
  ].filter(Boolean).join(", "));
  const again = state.attempt ? `, attempt ${state.attempt + 1}` : "";
  const title = state.phase !== "done" ? "Waiting for the session" : waits(state) ? "All trials done" : "Session finished";
  say("trial", state.number ? `Trial ${state.number} of ${state.total}${again}` : title);
  at("progress").max = Math.max(1, state.total);
  at("progress").value = state.phase === "done" ? state.total : Math.max(0, state.number - 1);
  say("policy", state.code ? `Policy ${state.code}` : "");
  say("text", second ? "Judge what you saw, without a word with the operator." : state.text);
  if (state.problem || state.key !== before.key) say("problem", second && state.phase !== "stopped" ? "" : state.problem);
  say("x", state.number ? state.x.toFixed(3) : "–");
  say("y", state.number ? state.y.toFixed(3) : "–");
  say("turn", state.number && state.yaw !== null ? `, turned ${state.yaw}°` : "");
  const asked = state.answers.includes("home") || state.answered === "home";
  const moving = state.phase === "running" || (state.phase === "homing" && !asked);
  if (moving) document.body.dataset.moving = "";
  else delete document.body.dataset.moving;
  say("phase", phaseText(state, moving));
  at("clock").hidden = state.phase !== "running";
  say("elapsed", Math.max(0, state.timeout - state.elapsed).toFixed(1));
  const wanted = second ? (state.second ? ["success", "failure"] : []) : SHOWN[state.phase] || [];
  const armed = performance.now() >= armedAt;
  for (const id of Object.keys(ANSWERS)) {
    at(id).disabled = !armed || !state.answers.includes(id);
    const used = state.answered && wanted.includes(id); // stays in its place while the session takes it up
    at(id).hidden = !(used || (state.answers.includes(id) && (id !== "undo" || !second)));
  }
  const good = ["ready", "moving"].includes(state.gate.state);
  const bad = ["stopped", "stopping"].includes(state.gate.state);
  badge("gate", `gate: ${state.gate.state}${state.gate.reason ? `, ${state.gate.reason}` : ""}`, good ? "good" : bad ? "bad" : "");
  say("warning", state.warning);
  at("warning").hidden = !state.warning;
  const others = state.pages > 1 ? `, ${state.pages} pages open` : "";
  badge("link", `connected${others}`, "good");
  at("noted").hidden = second || !["running", "verdict"].includes(state.phase);
  at("place").hidden = !state.number;
  if (noteOf(state) !== noteOf(before)) {
    if (before.number) keep(noteOf(before), "");
    at("note").value = recall(noteOf(state));
  }
  showPast(state.past);
  const where = `x ${state.x.toFixed(3)} m, y ${state.y.toFixed(3)} m${at("turn").textContent}`;
  at("camera").alt = state.number ? `Live camera; an outline marks where the object belongs, ${where}` : "Live camera";
  document.body.dataset.phase = second && state.second ? "verdict" : state.phase;
}

async function poll() {
  try {
    const response = await ask(`/state?client=${CLIENT}&role=${role()}`);
    const state = await response.json();
    if (!response.ok) throw new Error(state.error);
    show(state);
  } catch (error) {
    const text = error.name === "TimeoutError" || error instanceof TypeError ? "no connection to the session" : error.message;
    badge("link", text, "bad");
    say("phase", "No connection");
    document.body.dataset.phase = "lost";
    delete document.body.dataset.moving; // it may move, or not
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
    const body = JSON.stringify({ key: shown.key, answer, note, by: at("by").value, role: role() });
    const response = await ask("/answer", { method: "POST", body });
    if (!response.ok) say("problem", (await response.json()).error);
    if (response.ok && answer === "stop") say("text", "Stop requested.");
  } catch (error) {
    say("problem", answer === "stop" ? "STOP did not get through: use the emergency stop" : "no connection: answer again");
  }
}

async function steer() {
  if (steering) return;
  steering = true;
  let last = 0;
  do { // once more when nothing is held: the arm rests at once
    last = held.size;
    try {
      const body = JSON.stringify({ client: CLIENT, held: [...held] });
      const response = await ask("/steer", { method: "POST", body });
      if (!response.ok) say("problem", (await response.json()).error);
    } catch (error) {
      // What does not get through in time steers nothing
    }
    await new Promise((resolve) => setTimeout(resolve, STEER_MS));
  } while (last || held.size);
  steering = false;
}

function release() {
  held.clear();
}

function introduce() {
  const name = at("by").value.trim();
  say("who", role() === "second" ? `Second rater${name ? `: ${name}` : ""}` : name ? `Operator: ${name}` : "Who are you?");
}

for (const id of Object.keys(ANSWERS)) at(id).addEventListener("click", () => hand_in(id));
at("stop").addEventListener("click", () => {
  at("stop").blur(); // or the next space bar would press it again
  hand_in("stop");
});
at("note").addEventListener("input", () => keep(noteOf(shown), at("note").value));
at("by").addEventListener("input", () => { keep("by", at("by").value); introduce(); });
for (const choice of document.querySelectorAll("input[name=role]")) {
  choice.addEventListener("change", () => { keep("role", role()); introduce(); });
}
at("invite").addEventListener("click", async () => {
  try {
    const response = await ask("/qr.svg");
    if (!response.ok) return;
    at("qr").src = URL.createObjectURL(await response.blob());
    at("qr").hidden = false;
  } catch (error) {
    // The link's badge says it already
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    event.preventDefault();
    hand_in("stop");
    return;
  }
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  const focused = document.activeElement;
  if (shown.steerable && STEER.has(event.key) && !["TEXTAREA", "INPUT"].includes(focused.tagName)) {
    event.preventDefault();
    held.add(event.key);
    steer();
    return;
  }
  if (["TEXTAREA", "INPUT"].includes(focused.tagName) || (event.key === " " && ["BUTTON", "SUMMARY"].includes(focused.tagName))) return;
  const id = Object.keys(ANSWERS).find((each) => ANSWERS[each] && ANSWERS[each] === event.key);
  if (id && !at(id).disabled) {
    event.preventDefault();
    hand_in(id);
  }
});

document.addEventListener("keyup", (event) => held.delete(event.key.toLowerCase()));
window.addEventListener("blur", release);
document.addEventListener("visibilitychange", release);

at("by").value = recall("by");
for (const choice of document.querySelectorAll("input[name=role]")) choice.checked = choice.value === recall("role");
introduce();
poll();
watch();
