// The page: one moment at a time. `render` puts a moment on the page; keys, buttons and the clock choose it.

const SPEEDS = [1, 2, 5, 10, 20, 50, 100, 200];
const KEYS = {
  "Space": "play or pause",
  "→ or N": "one round on",
  "← or P": "one round back",
  "Home, End": "to the start, to the end",
  "+ and −": "faster, slower",
  "G": "jump: type the number of a round",
  "L": "letters beside the tokens",
  "?": "this help",
  "in the text": "← and → pick a token, Enter jumps to its round",
};

function start() {
  const trace = opened(JSON.parse(byId("data").textContent));
  const view = {
    trace,
    tokens: drawTokens(trace, byId("tokens")),
    plain: drawPlain(trace, byId("plain")),
    time: 0,
    playing: false,
    slower: easySpeed(trace, SPEEDS),
    picked: null,
    before: { shown: 0, plain: 0, round: null, decided: null },
    drawn: [],
  };
  byId("page").hidden = false;
  drawHead(trace);
  drawLegend(trace, byId("legend"));
  drawStrips(trace, byId("chart"));
  drawChartKey(trace, byId("chart-key"));
  byId("tree-key").textContent = "p: the target’s probability of the token, in percent (bar); q: what the drafter claimed (tick). "
    + "✓ accepted  ✗ rejected  ● the target’s own";
  wire(view);
  render(view, 0);
  const asked = /^#(\d+)$/.exec(location.hash);
  if (asked) goTo(view, Number(asked[1]));
}

function drawHead(trace) {
  const { stats } = trace;
  const faster = speedup(trace);
  const same = trace.first_difference === null;
  const verdict = byId("verdict");
  verdict.append(element("b", { textContent: `${faster.toFixed(2)}×`, className: faster < 1 ? "slower" : "" }));
  verdict.append(" the speed of plain decoding, ");
  if (!stats.lossless) verdict.append("LOSSY: the verifier may have changed what the model says");
  else if (same) verdict.append(`the same ${plural(stats.tokens, "token")}`);
  else if (trace.promised) verdict.append(`BUT NOT THE SAME TOKENS, from token ${trace.first_difference + 1} on`);
  else verdict.append("another text of the same law");
  verdict.append(` · ${stats.mean_acceptance_length.toFixed(2)} tokens a pass`);
  const prompt = byId("prompt");
  prompt.append(element("b", { textContent: "Prompt " }), trace.prompt);
  if (prompt.scrollHeight > prompt.clientHeight + 2) Object.assign(prompt, { tabIndex: 0, role: "region", ariaLabel: "Prompt" });
  for (const [name, value] of Object.entries(trace.facts)) {
    byId("facts").append(element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value })));
  }
  for (const [keys, what] of Object.entries(KEYS)) {
    byId("shortcuts").append(element("tr", {}, element("th", { scope: "row", textContent: keys }), element("td", { textContent: what })));
  }
}

/** Puts the moment `time` on the page; only what changed is touched. */
function render(view, time) {
  const { trace, before } = view;
  view.time = Math.max(0, Math.min(trace.finished, time));
  const now = standing(trace, view.time);
  show(byId("tokens"), view.tokens, before.shown, now.shown);
  show(byId("plain"), view.plain, before.plain, now.plain);
  lane("ours", now.shown, trace.tokens.length, Math.min(view.time, trace.seconds), trace.seconds);
  lane("theirs", now.plain, trace.plainPieces.length, Math.min(view.time, trace.plain.seconds), trace.plain.seconds);
  if (now.round !== before.round) {
    view.drawn = drawTree(trace, now.round);
    drawSpent(trace, now.round);
    stageStrips(trace, now);
  }
  const heading = roundWords(trace, now);
  if (byId("round-name").textContent !== heading) byId("round-name").textContent = heading;
  stageTree(view.drawn, now);
  if (now.round !== before.round || now.decided !== before.decided) followTree(view.drawn, now.decided);
  stageSpent(trace, now);
  byId("seek").value = String(now.stop);
  byId("seek").setAttribute("aria-valuetext", stopWords(trace, now.stop));
  if (document.activeElement !== byId("jump")) byId("jump").value = String(Math.min(now.stop, trace.rounds.length));
  if (view.picked === null && view.marked !== now.shown - 1) pick(view, now.shown - 1);
  view.before = { shown: now.shown, plain: now.plain, round: now.round, decided: now.decided };
}

function lane(id, count, all, seconds, whole) {
  const box = byId(id);
  const done = count >= all;
  box.querySelector(".fill").style.width = `${((count / all) * 100).toFixed(2)}%`;
  const time = done ? whole : seconds;
  const rate = time > 0 ? count / time : 0;
  box.querySelector("output").textContent = `${count}/${all} tokens  ${time.toFixed(3)} s  ${rate.toFixed(0).padStart(3)} tok/s${done ? " ✓" : "  "}`;
  box.querySelector(".track").setAttribute("aria-label", `${count} of ${all} tokens`);
  box.classList.toggle("done", done);
}

function roundWords(trace, now) {
  if (now.round < 0) return "Before the first round";
  const round = trace.rounds[now.round];
  const which = `Round ${now.round + 1} of ${trace.rounds.length}`;
  if (!now.decided) return `${which}: ${now.drafting < 1 ? "drafting" : `one pass of the target judges ${plural(drafts(round), "draft")}`}`;
  return `${which}: ${drafts(round)} drafted, ${round.accepted} accepted, ${plural(round.count, "token")} said`;
}

function stopWords(trace, stop) {
  if (stop === 0) return "start";
  return stop > trace.rounds.length ? "both have finished" : `round ${stop} of ${trace.rounds.length}`;
}

/** Marks a token and says all about it; `at` -1 is none. */
function pick(view, at) {
  if (view.marked >= 0 && view.tokens[view.marked]) view.tokens[view.marked].setAttribute("aria-selected", "false");
  view.marked = at;
  if (at >= 0) {
    view.tokens[at].setAttribute("aria-selected", "true");
    byId("tokens").setAttribute("aria-activedescendant", `token-${at}`);
  } else byId("tokens").removeAttribute("aria-activedescendant");
  describeToken(view.trace, at);
}

function say(view) {
  const now = standing(view.trace, view.time);
  const end = view.time >= view.trace.finished ? " Both have finished." : "";
  const texts = now.decided ? view.trace.rounds[now.round] : null;
  const said = texts ? view.trace.tokens.slice(texts.first, texts.first + texts.count).map((one) => one.label).join("") : "";
  byId("status").textContent = view.playing ? "" : `${roundWords(view.trace, now)}${said ? `: “${said}”` : ""}.${end}`;
}

function goTo(view, stop) {
  pause(view);
  view.picked = null;
  render(view, view.trace.stops[Math.max(0, Math.min(view.trace.stops.length - 1, stop))]);
  say(view);
}

/** One round on or back; inside a round, back is to its beginning. */
function step(view, by) {
  const { stop, round, decided } = standing(view.trace, view.time);
  goTo(view, by < 0 && round >= 0 && !decided ? stop : stop + by);
}

function pause(view) {
  view.playing = false;
  byId("play").classList.remove("playing");
  byId("play-word").textContent = "Play";
}

function play(view) {
  if (view.playing) {
    pause(view);
    say(view);
    return;
  }
  if (view.time >= view.trace.finished) render(view, 0);
  view.playing = true;
  view.picked = null;
  byId("status").textContent = "";
  byId("play").classList.add("playing");
  byId("play-word").textContent = "Pause";
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let last = performance.now();
  let time = view.time;
  const tick = (moment) => {
    if (!view.playing) return;
    time += (moment - last) / 1000 / view.slower;
    last = moment;
    const stop = Math.max(past(view.trace.stops, time) - 1, 0);
    render(view, still && time < view.trace.finished ? view.trace.stops[stop] : time);
    if (time < view.trace.finished) requestAnimationFrame(tick);
    else {
      pause(view);
      say(view);
    }
  };
  requestAnimationFrame(tick);
}

function setSpeed(view, by) {
  const at = Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(view.slower) + by));
  view.slower = SPEEDS[at];
  byId("speed").value = String(view.slower);
}

function toggleLetters() {
  byId("letters").checked = !byId("letters").checked;
  document.body.classList.toggle("lettered", byId("letters").checked);
}

function wire(view) {
  const { trace } = view;
  for (const slower of SPEEDS) {
    const textContent = slower === 1 ? "real time" : `1/${slower}`;
    byId("speed").append(element("option", { value: String(slower), textContent }));
  }
  byId("speed").value = String(view.slower);
  byId("seek").max = String(trace.stops.length - 1);
  byId("jump").max = String(trace.rounds.length);
  const clicks = {
    first: () => goTo(view, 0),
    back: () => step(view, -1),
    play: () => play(view),
    on: () => step(view, 1),
    last: () => goTo(view, trace.stops.length - 1),
  };
  for (const [id, act] of Object.entries(clicks)) byId(id).addEventListener("click", act);
  byId("seek").addEventListener("input", (event) => goTo(view, Number(event.target.value)));
  byId("jump").addEventListener("change", (event) => goTo(view, Math.min(trace.rounds.length, Number(event.target.value) || 0)));
  byId("jump").addEventListener("keydown", (event) => { if (event.key === "Enter") event.target.blur(); }); // keys are the page's again
  byId("speed").addEventListener("change", (event) => { view.slower = Number(event.target.value); });
  byId("letters").checked = matchMedia("(forced-colors: active), (prefers-contrast: more)").matches;
  document.body.classList.toggle("lettered", byId("letters").checked);
  byId("letters").addEventListener("change", (event) => document.body.classList.toggle("lettered", event.target.checked));
  byId("chart").addEventListener("click", (event) => goTo(view, 1 + roundUnder(trace, byId("chart"), event.clientX)));
  byId("rounds").addEventListener("toggle", () => {
    const box = byId("rounds").querySelector(".wide");
    if (byId("rounds").open && !box.childElementCount) drawTable(trace, box);
  });
  addEventListener("resize", () => {
    drawStrips(trace, byId("chart"));
    stageStrips(trace, standing(trace, view.time));
    followTree(view.drawn, view.before.decided);
  });
  addEventListener("hashchange", () => {
    const asked = /^#(\d+)$/.exec(location.hash);
    if (asked) goTo(view, Number(asked[1]));
  });
  wireTokens(view);
  addEventListener("keydown", (event) => onKey(view, event));
}

/** The text is one stop of the focus; inside it arrows pick tokens. */
function wireTokens(view) {
  const box = byId("tokens");
  const choose = (at) => {
    pause(view);
    view.picked = Math.max(0, Math.min(view.before.shown - 1, at));
    pick(view, view.picked);
    view.tokens[view.picked].scrollIntoView({ block: "nearest" });
  };
  const open = (at) => {
    goTo(view, view.trace.tokens[at].round + 1);
    choose(at);
  };
  box.addEventListener("click", (event) => {
    const at = view.tokens.indexOf(event.target.closest(".tok.on"));
    if (at >= 0) open(at);
  });
  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !view.before.shown) return;
    const moves = { ArrowLeft: view.marked - 1, ArrowRight: view.marked + 1, Home: 0, End: view.before.shown - 1 };
    if (event.key in moves) choose(moves[event.key]);
    else if (event.key === "Enter" && view.marked >= 0) open(view.marked);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

function onKey(view, event) {
  if (event.ctrlKey || event.altKey || event.metaKey || !byId("keys").checked) return;
  const target = event.target;
  if (target.closest("select, input[type=number]")) return;
  if (event.key === " " && target.closest("button, summary, input[type=checkbox]")) return;
  const acts = {
    " ": () => play(view),
    "ArrowRight": () => step(view, 1),
    "n": () => step(view, 1),
    "ArrowLeft": () => step(view, -1),
    "p": () => step(view, -1),
    "Home": () => goTo(view, 0),
    "End": () => goTo(view, view.trace.stops.length - 1),
    "+": () => setSpeed(view, -1),
    "-": () => setSpeed(view, 1),
    "g": () => byId("jump").select(),
    "l": toggleLetters,
    "?": () => { byId("help").open = !byId("help").open; byId("help").querySelector("summary").focus(); },
  };
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!(key in acts)) return;
  // Arrows scroll a tree or a table that has the focus.
  if (key.startsWith("Arrow") && target.closest("#tree, .wide")) return;
  event.preventDefault();
  acts[key]();
}

start();
