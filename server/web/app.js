// The page of Hansard: sign-in, rooms, history, posting and the live stream. No build step, no other origin.
// Text of people goes in by textContent only. A room's place is kept as seq (history) and rev (stream).
"use strict";

const $ = (id) => document.getElementById(id);
const state = {
  me: null, rooms: new Map(), categories: new Map(), socket: null, retry: 0, opening: 0,
  room: null, older: null, newer: null, loading: false, // the room in view
  revs: new Map(), // room -> last rev that the stream gave or a page showed
};

// ---- requests ----

const refused = (status, problem) =>
  Object.assign(new Error(problem.detail || problem.title || "The server did not answer well."), { status });

async function api(method, path, body, headers = {}) {
  const options = { method, headers: { "X-Hansard-Csrf": "1", ...headers } };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch("/api/v1" + path, options);
  const answer = response.status === 204 ? null : await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401 && path !== "/sessions") showDoor();
  throw refused(response.status, answer);
}

async function all(path, plural) {
  const found = [];
  let cursor = null;
  do {
    const page = await api("GET", path + (cursor ? "?cursor=" + cursor : ""));
    found.push(...page[plural]);
    cursor = page.next;
  } while (cursor);
  return found;
}

// ---- signing in and out ----

function showDoor(message = "") {
  state.me = null;
  state.socket?.close();
  $("app").hidden = true;
  $("door").hidden = false;
  $("door-error").textContent = message;
  $("name").focus();
}

async function signIn(credential) {
  try {
    await api("POST", "/sessions", credential, { "X-Hansard-Browser": "1" });
    await enter();
  } catch (error) {
    showDoor(credential.link ? "This link has been used or is too old." : error.message);
  }
}

async function enter() {
  state.me = await api("GET", "/me");
  $("me").textContent = state.me.name;
  $("door").hidden = true;
  $("app").hidden = false;
  $("password").value = "";
  await loadRooms();
  connect();
  const wanted = decodeURIComponent(location.hash.slice(1));
  const first = state.rooms.get(wanted) || [...state.rooms.values()].find((room) => room.roles.length);
  if (first) openRoom(first.id);
}

// ---- the list of rooms ----

async function loadRooms() {
  const [categories, rooms] = await Promise.all([all("/categories", "categories"), all("/rooms", "rooms")]);
  state.categories = new Map(categories.map((category) => [category.id, category]));
  state.rooms = new Map(rooms.map((room) => [room.id, { fresh: state.rooms.get(room.id)?.fresh, ...room }]));
  $("new-room").hidden = !categories.some((category) => category.may_create);
  drawRooms();
}

function drawRooms() {
  const filter = $("filter").value.trim().toLocaleLowerCase();
  const list = document.createDocumentFragment();
  const byName = (a, b) => a.name.localeCompare(b.name);
  for (const category of [...state.categories.values()].sort(byName)) {
    const rooms = [...state.rooms.values()].filter(
      (room) => room.category === category.id && room.name.toLocaleLowerCase().includes(filter));
    if (!rooms.length) continue;
    list.append(make("h3", "", category.name));
    for (const room of rooms.sort(byName)) {
      const button = make("button", room.fresh ? "fresh" : "");
      button.append(Object.assign(make("span", "", room.name), { dir: "auto" }));
      if (room.privacy !== "open") button.append(make("small", "", room.privacy));
      if (state.room === room.id) button.setAttribute("aria-current", "true");
      button.onclick = () => openRoom(room.id);
      list.append(button);
    }
  }
  if (!list.childNodes.length) list.append(make("p", "end", filter ? "No such room." : "No rooms yet."));
  $("rooms").replaceChildren(list);
}

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// ---- the log ----

const log = $("log");
const atBottom = () => log.scrollHeight - log.scrollTop - log.clientHeight < 60;
const toBottom = () => { log.scrollTop = log.scrollHeight; $("more").hidden = true; };
const dayOf = (time) => new Date(time).toLocaleDateString(undefined, { dateStyle: "full" });
const clockOf = (time) => new Date(time).toLocaleTimeString(undefined, { timeStyle: "short", hourCycle: "h23" });
const hue = (text) => [...text].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 360, 0);

function drawMessage(message) {
  const row = make("article", "entry " + message.kind);
  const time = make("time", "", clockOf(message.time));
  time.dateTime = message.time;
  time.title = message.time + (message.seq ? " · entry " + message.seq : "");
  const who = Object.assign(make("span", "who", message.author.name), { dir: "auto", title: message.author.name });
  who.style.setProperty("--hue", hue(message.author.name));
  const aside = make("span", "aside");
  aside.append(make("span", "acts"), make("span", "state"));
  row.append(time, who, Object.assign(make("span", "what"), { dir: "auto" }), aside);
  const { id, room, kind, time: at, seq = Infinity, author: { id: author, name } } = message;
  Object.assign(row, { message: id, room, kind, seq, author, name, day: dayOf(at) });
  write(row, message.body, message.edited, message.redacted);
  return row;
}

// What a row says now, and what may be done to it.
function write(row, body, edited, redacted) {
  const what = row.querySelector(".what");
  row.body = body;
  row.classList.toggle("redacted", Boolean(redacted));
  what.textContent = redacted
    ? "Removed" + (redacted.by ? " by " + redacted.by.name : "") + (redacted.reason ? ": " + redacted.reason : ".")
    : row.kind === "action" ? row.name + " " + body : body;
  const acts = row.querySelector(".acts");
  acts.replaceChildren();
  if (!row.message || row.room === undefined) return;
  const act = (word, title, run) =>
    acts.append(Object.assign(make("button", "plain", word), { type: "button", title, onclick: run }));
  if (!redacted && may("edit", row)) act("Edit", "Let it say something else; what it said is kept", () => amend(row));
  if (!redacted && may("redact", row)) act("Remove", "Hide it from people", () => redact(row));
  if (edited && !redacted) {
    act("edited", "Edited by " + edited.by.name + " at " + edited.recorded + ". What it said before?", () => versions(row));
    acts.lastChild.classList.add("edited");
  }
}

// Whether the category lets this person edit or remove it. The server decides; this only hides what it would refuse.
function may(how, row) {
  const room = state.rooms.get(row.room);
  const policy = state.categories.get(room?.category)?.[how];
  if (!policy || policy === "nobody") return false;
  return state.me.administrator || room.roles.includes("manager") || (policy === "authors" && row.author === state.me.id);
}

const messagePath = (row) =>
  "/rooms/" + encodeURIComponent(row.room) + "/messages/" + encodeURIComponent(row.message);

function ask(title, value, hint, run) {
  $("ask-title").textContent = title;
  $("ask-error").textContent = "";
  Object.assign($("ask-text"), { value, placeholder: hint });
  $("ask").querySelector("form").onsubmit = async (event) => {
    if (event.submitter?.value !== "do") return;
    event.preventDefault();
    try {
      await run($("ask-text").value);
      $("ask").close();
    } catch (error) {
      $("ask-error").textContent = error.message;
    }
  };
  $("ask").showModal();
}

function amend(row) {
  ask("Edit", row.body, "What it shall say", async (body) => {
    const message = await api("PATCH", messagePath(row), { body });
    write(row, message.body, message.edited, message.redacted);
  });
}

function redact(row) {
  ask("Remove", "", "Why? It stands in the record; it may be left empty.", async (reason) => {
    await api("DELETE", messagePath(row) + (reason ? "?reason=" + encodeURIComponent(reason) : ""));
    const message = await api("GET", messagePath(row));
    write(row, message.body, message.edited, message.redacted);
  });
}

async function versions(row) {
  try {
    const got = await api("GET", messagePath(row) + "/versions");
    const list = got.versions.map((version) => {
      const item = make("li");
      item.append(
        make("small", "quiet", new Date(version.recorded).toLocaleString() + " · " + version.author.name),
        Object.assign(make("p", "", version.body), { dir: "auto" }));
      return item;
    });
    if (got.damaged) list.push(make("li", "error", got.damaged + " more cannot be read."));
    $("versions-list").replaceChildren(...list);
    $("versions").showModal();
  } catch (error) {
    banner(error.message);
  }
}

function drawGap(gap) {
  const words = "Entries " + gap.from_seq + "–" + gap.to_seq + " are " + gap.reason.replace("-", " ") + ".";
  return Object.assign(make("p", "gap", words), { seq: gap.from_seq });
}

const rowsOf = (page) =>
  [...page.messages.map(drawMessage), ...page.gaps.map(drawGap)].sort((a, b) => a.seq - b.seq);
const newest = (page) => page.messages.reduce((rev, message) => Math.max(rev, message.rev), 0);

// Puts date separators where the day changes, and hides repeated names.
function dress() {
  for (const old of log.querySelectorAll(".day")) old.remove();
  let day = null;
  let before = null;
  for (const row of [...log.children]) {
    if (row.day && row.day !== day) {
      day = row.day;
      log.insertBefore(make("div", "day", day), row);
      before = null;
    }
    if (!row.classList.contains("entry")) { before = null; continue; }
    row.classList.toggle("same", before !== null && before.author === row.author && before.kind === row.kind);
    before = row;
  }
}

function add(rows, where) {
  log.setAttribute("aria-busy", "true");
  if (where === "before") log.prepend(...rows);
  else for (const row of rows) log.insertBefore(row, log.querySelector(".sending, .failed"));
  dress();
  log.removeAttribute("aria-busy");
}

const roomPath = () => "/rooms/" + encodeURIComponent(state.room) + "/messages";

async function openRoom(id, place = "") {
  const room = state.rooms.get(id);
  const opening = ++state.opening;
  const waiting = id === state.room ? [...log.querySelectorAll(".sending, .failed")] : [];
  Object.assign(state, { room: id, older: null, newer: null, loading: true });
  history.replaceState(null, "", "#" + encodeURIComponent(id));
  $("app").classList.remove("open");
  $("title").textContent = room.name;
  $("topic").textContent = room.topic || room.description;
  $("jump").hidden = $("composer").hidden = false;
  $("join").hidden = room.privacy !== "open" || room.roles.length > 0;
  room.fresh = false;
  drawRooms();
  log.replaceChildren();
  try {
    const page = await api("GET", roomPath() + "?limit=50" + place);
    if (opening !== state.opening) return;
    state.older = page.older;
    state.newer = page.newer;
    add(rowsOf(page), "after");
    log.append(...waiting);
    if (!page.older) markBegin();
    toBottom();
    if (place) aim(place);
    if (!page.newer) follow(id, newest(page));
  } catch (error) {
    if (opening !== state.opening) return;
    $("jump").hidden = $("composer").hidden = true;
    log.append(make("p", "end", error.status === 403
      ? "Members only. Ask a manager of this room to let you in." : error.message));
  } finally {
    if (opening === state.opening) state.loading = false;
  }
}

function aim(place) {
  const wanted = new Date(decodeURIComponent(place.split("=")[1])).getTime();
  const found = [...log.querySelectorAll(".entry")].find(
    (row) => new Date(row.querySelector("time").dateTime).getTime() >= wanted);
  found?.classList.add("found");
  found?.scrollIntoView({ block: "center" });
}

const markBegin = () => log.prepend(make("p", "end", "The beginning of this room."));

async function page(direction) {
  const cursor = state[direction];
  if (!cursor || state.loading) return;
  state.loading = true;
  const opening = state.opening;
  try {
    const got = await api("GET", roomPath() + "?limit=100&cursor=" + cursor);
    if (opening !== state.opening || cursor !== state[direction]) return;
    state[direction] = got[direction];
    const [height, top] = [log.scrollHeight, log.scrollTop];
    add(rowsOf(got), direction === "older" ? "before" : "after");
    if (direction === "older") {
      if (!got.older) markBegin();
      log.scrollTop = top + log.scrollHeight - height; // keeps the place of what is being read
    } else if (!got.newer) {
      // The end is reached: what came by the stream meanwhile stands in this page, and the rest follows.
      follow(state.room, newest(got));
    }
  } catch (error) {
    banner(error.message);
  } finally {
    if (opening === state.opening) state.loading = false;
  }
}

log.addEventListener("scroll", () => {
  if (log.scrollTop < 400) page("older");
  if (log.scrollHeight - log.scrollTop - log.clientHeight < 400) page("newer");
  if (atBottom() && !state.newer) $("more").hidden = true;
});

// ---- posting ----

const newKey = () => [...crypto.getRandomValues(new Uint32Array(4))].map((word) => word.toString(36)).join("-");

function post(body) {
  const action = body.startsWith("/me ");
  const draft = { body: action ? body.slice(4) : body, kind: action ? "action" : "text" };
  const row = drawMessage({ ...draft, author: state.me, time: new Date().toISOString() });
  log.append(row);
  dress();
  toBottom();
  send(state.room, draft, newKey(), row);
}

// The same key with each attempt: the server keeps the message once, however often it is sent.
async function send(room, draft, key, row) {
  row.classList.remove("failed");
  row.classList.add("sending");
  row.querySelector(".state").textContent = "sending…";
  try {
    const path = "/rooms/" + encodeURIComponent(room) + "/messages";
    const message = await api("POST", path, draft, { "Idempotency-Key": key });
    row.remove();
    if (room === state.room && !state.newer) show(message, "kept ✓");
  } catch (error) {
    row.classList.remove("sending");
    row.classList.add("failed");
    const retry = make("button", "plain", "not kept · try again");
    retry.title = error.message;
    retry.onclick = () => send(room, draft, key, row);
    row.querySelector(".state").replaceChildren(retry);
  }
}

// Shows a message of the room in view once, in its place, whether the answer or the stream brought it first.
function show(message, word = "") {
  const rows = [...log.querySelectorAll(".entry")].filter((row) => row.room === message.room || !row.room);
  let row = rows.find((row) => row.seq === message.seq);
  if (!row) {
    const stay = !atBottom();
    row = drawMessage(message);
    log.insertBefore(row, rows.find((other) => other.seq > message.seq) || null);
    dress();
    if (stay) $("more").hidden = false;
    else toBottom();
  }
  if (word) row.querySelector(".state").textContent = word;
}

// A message in view was edited or removed, here or elsewhere.
function changed(frame) {
  const row = [...log.querySelectorAll(".entry")].find((row) => row.room === frame.room && row.seq === frame.seq);
  if (!row || row.classList.contains("redacted")) return;
  const change = { rev: frame.rev, recorded: frame.recorded, by: frame.actor };
  if (frame.kind === "redacted") write(row, "", null, { ...change, reason: frame.data?.reason });
  else if (frame.data) write(row, frame.data.body, change, null);
}

// Retention took the oldest entries: what of them is in view goes, and a gap says so.
function expired(floor) {
  const gone = [...log.children].filter((row) => row.seq <= floor);
  if (!gone.length) return;
  gone.push(...log.querySelectorAll(".end"));
  gone.forEach((row) => row.remove());
  add([drawGap({ from_seq: 1, to_seq: floor, reason: "expired" })], "before");
  markBegin();
  state.older = null;
}

// An entry was erased: in its place a gap says so.
function erased(seq) {
  const row = [...log.children].find((row) => row.seq === seq && row.classList.contains("entry"));
  row?.replaceWith(drawGap({ from_seq: seq, to_seq: seq, reason: "erased" }));
  dress();
}

// ---- the live stream ----

function banner(text) {
  $("banner").hidden = !text;
  $("banner").textContent = text;
}

function connect() {
  const socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/api/v1/stream");
  state.socket = socket;
  socket.onmessage = (event) => take(JSON.parse(event.data));
  socket.onclose = () => {
    if (state.socket !== socket || !state.me) return;
    banner("Not connected. What is said meanwhile will follow.");
    const wait = Math.min(30000, 500 * 2 ** state.retry++) * (0.5 + Math.random() / 2);
    setTimeout(() => state.me && connect(), wait);
  };
}

function tell(frame) {
  if (state.socket?.readyState === WebSocket.OPEN) state.socket.send(JSON.stringify(frame));
}

// Follows a room from a rev; the stream brings everything behind it, now or after the next reconnect.
function follow(room, rev) {
  state.revs.set(room, Math.max(rev, state.revs.get(room) || 0));
  tell({ type: "subscribe", room, after: rev || null });
}

function take(frame) {
  const rev = frame.rev || frame.to_rev;
  if (rev) state.revs.set(frame.room, Math.max(rev, state.revs.get(frame.room) || 0));
  switch (frame.type) {
    case "hello":
      state.retry = 0;
      banner("");
      for (const room of state.rooms.values()) {
        if (room.roles.length || state.revs.has(room.id)) {
          tell({ type: "subscribe", room: room.id, after: state.revs.get(room.id) || null });
        }
      }
      break;
    case "subscribed":
      if (!state.revs.has(frame.room)) state.revs.set(frame.room, frame.after);
      break;
    case "change":
      if (/^(room|member)-/.test(frame.kind)) loadRooms().catch(() => {});
      if (frame.kind === "edited" || frame.kind === "redacted") changed(frame);
      if (frame.kind === "erased" && frame.room === state.room) erased(frame.seq);
      if (frame.kind === "expired" && frame.room === state.room) expired(frame.data.floor);
      if (frame.kind !== "post") break;
      if (frame.room === state.room && !state.loading) {
        if (!state.newer) show(frame.message);
        else $("more").hidden = false;
      } else {
        Object.assign(state.rooms.get(frame.room) || {}, { fresh: true });
        drawRooms();
      }
      break;
    case "gap":
      if (frame.room === state.room) {
        log.append(make("p", "gap", "Changes " + frame.from_rev + "–" + frame.to_rev + " are " + frame.reason + "."));
      }
      break;
    case "removed":
      state.revs.delete(frame.room);
      if (frame.room === state.room) {
        $("composer").hidden = true;
        log.replaceChildren(make("p", "end", "You may not read this room any more."));
      }
      loadRooms().catch(() => {});
      break;
    case "bye":
      if (frame.code === "signed-out") showDoor("You have been signed out.");
      break;
  }
}

// ---- wiring ----

$("sign-in").onsubmit = (event) => {
  event.preventDefault();
  signIn({ name: $("name").value, password: $("password").value });
};
$("sign-out").onclick = () => api("DELETE", "/sessions/current").finally(() => showDoor());
$("filter").oninput = drawRooms;
$("menu").onclick = () => $("app").classList.toggle("open");
$("more").onclick = () => (state.newer ? openRoom(state.room) : toBottom());
$("latest").onclick = () => openRoom(state.room);
$("jump").onsubmit = (event) => {
  event.preventDefault();
  const when = new Date($("when").value);
  if (!Number.isNaN(when.getTime())) openRoom(state.room, "&around=" + encodeURIComponent(when.toISOString()));
};
$("join").onclick = async () => {
  const path = "/rooms/" + encodeURIComponent(state.room) + "/members/" + encodeURIComponent(state.me.id);
  await api("PUT", path, {}).catch((error) => banner(error.message));
  await loadRooms();
  openRoom(state.room);
};
$("composer").onsubmit = (event) => {
  event.preventDefault();
  const body = $("text").value;
  if (!body.trim()) return;
  $("text").value = "";
  post(body);
};
$("text").onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
};
$("new-room").onclick = () => {
  const places = [...state.categories.values()].filter((category) => category.may_create);
  $("room-category").replaceChildren(...places.map((place) => new Option(place.name, place.id)));
  $("create-error").textContent = "";
  $("create").showModal();
};
$("create").querySelector("form").onsubmit = async (event) => {
  if (event.submitter?.value !== "make") return;
  event.preventDefault();
  try {
    const [name, category, privacy] = ["room-name", "room-category", "room-privacy"].map((id) => $(id).value);
    const room = await api("POST", "/rooms", { name: name.trim(), category, privacy });
    $("create").close();
    $("room-name").value = "";
    await loadRooms();
    openRoom(room.id);
  } catch (error) {
    $("create-error").textContent = error.message;
  }
};

const link = new URLSearchParams(location.hash.slice(1)).get("link");
if (link) {
  history.replaceState(null, "", "/"); // the secret leaves the address bar before anything else happens
  signIn({ link });
} else {
  enter().catch((error) => showDoor(error.status === 401 ? "" : error.message));
}
