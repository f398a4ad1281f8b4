// Where time went: the bar of one round, the strips of all rounds, and their table.

const SVG = "http://www.w3.org/2000/svg";
const STRIP = { widest: 1000, least: 300, tokens: 90, gap: 26, time: 110, left: 44, bottom: 18 };

function shape(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** The parts of a round's time side by side, and the same in words. */
function drawSpent(trace, at) {
  const box = byId("parts");
  box.replaceChildren();
  const round = trace.rounds[at];
  byId("spent").hidden = !round;
  if (!round) return;
  const seconds = total(round.times);
  const said = PARTS.map((part, place) => `${part} ${milliseconds(round.times[place])}`);
  PARTS.forEach((part, place) => {
    const one = element("span", { className: `part ${part}` });
    one.style.flexGrow = String(round.times[place] / seconds);
    if (round.times[place] / seconds > 0.12) one.append(element("span", { textContent: said[place] }));
    box.append(one);
  });
  box.append(element("i", { id: "hand" }));
  box.setAttribute("aria-label", `Time of the round: ${said.join(", ")}`);
  const pass = trace.plain.seconds / trace.plainPieces.length;
  const sources = round.spent.filter(([, one]) => one > 0.00005).map(([name, one]) => `${name} ${milliseconds(one)}`);
  const lines = [
    `${milliseconds(seconds)} for ${plural(round.count, "token")} (${said.join(", ")}); plain decoding takes `
      + `${milliseconds(pass * round.count)} for as many.`,
    sources.length ? `Drafting and learning: ${sources.join(", ")}.` : "",
    round.expected
      ? `The policy expected ${plural(round.expected[0], "token")} in ${milliseconds(round.expected[1])} of drafting and the pass.`
      : "",
    round.fault ? `The drafter failed: ${round.fault}.` : "",
  ];
  byId("spent-words").textContent = lines.filter(Boolean).join(" ");
}

/** Moves the hand of the round's bar. */
function stageSpent(trace, now) {
  const hand = byId("hand");
  if (!hand || now.round < 0) return;
  const share = now.elapsed / total(trace.rounds[now.round].times);
  hand.style.left = `${(Math.min(1, share) * 100).toFixed(2)}%`;
}

/** One column a round: tokens drafted and accepted above, milliseconds by what they went into below. */
function drawStrips(trace, chart) {
  const { tokens, gap, time, left, bottom } = STRIP;
  const width = Math.max(STRIP.least, Math.min(STRIP.widest, chart.clientWidth || STRIP.widest));
  const height = tokens + gap + time + bottom;
  const column = (width - left) / trace.rounds.length;
  const wide = Math.min(column * 0.82, 26);
  const x = (at) => left + column * at + (column - wide) / 2;
  const most = Math.max(...trace.rounds.map((round) => Math.max(drafts(round) + 1, round.count)));
  const pass = trace.plain.seconds / trace.plainPieces.length;
  const longest = Math.max(pass, usual(trace.rounds.map((round) => total(round.times))));
  const paths = { accepted: "", own: "", denied: "", draft: "", verify: "", sample: "", other: "" };
  const bar = (name, at, from, to, foot, scale) => {
    if (to > from) paths[name] += `M${fixed(x(at))} ${fixed(foot - to * scale)}h${fixed(wide)}V${fixed(foot - from * scale)}h${fixed(-wide)}z`;
  };
  trace.rounds.forEach((round, at) => {
    const scale = (tokens - 14) / most;
    bar("accepted", at, 0, round.accepted, tokens, scale);
    bar("own", at, round.accepted, round.count, tokens, scale);
    bar("denied", at, round.count, round.count + drafts(round) - round.accepted, tokens, scale);
    let from = 0;
    round.times.forEach((seconds, place) => {
      const to = Math.min(longest, from + seconds);
      bar(PARTS[place], at, from, to, tokens + gap + time, (time - 4) / longest);
      from = to;
    });
  });
  chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const foot = tokens + gap + time;
  const level = foot - (pass * (time - 4)) / longest;
  chart.replaceChildren(
    patterns(),
    shape("rect", { id: "here", x: 0, y: 0, width: column, height: height - bottom, visibility: "hidden" }),
    ...Object.entries(paths).map(([name, d]) => shape("path", { class: name, d })),
    shape("path", { class: "axis", d: `M${left} ${tokens}H${width}M${left} ${foot}H${width}` }),
    shape("path", { class: "pass", d: `M${left} ${fixed(level)}H${width}` }),
    ...cutOff(trace, longest, (at) => x(at) + wide / 2, tokens + gap),
    label(left - 6, 14, String(most), "end"),
    label(left - 6, tokens, "0", "end"),
    label(left + 2, 10, "tokens of a round", "start"),
    label(left - 6, tokens + gap + 10, milliseconds(longest).replace(" ms", ""), "end"),
    label(left - 6, foot, "0 ms", "end"),
    label(left + 2, tokens + gap - 4, "milliseconds of a round", "start"),
    label(left, height - 4, "round 1", "start"),
    label(width, height - 4, `round ${trace.rounds.length}`, "end"),
  );
  chart.setAttribute("aria-label", chartWords(trace, pass));
  trace.columns = { left, column, width };
}

/** The longest time that the strip has room for: not a stall that would flatten all the rest. */
function usual(times) {
  const ascending = [...times].sort((one, other) => one - other);
  const longest = ascending[ascending.length - 1];
  return Math.min(longest, 4 * ascending[ascending.length >> 1]);
}

/** An arrow, and the milliseconds where they fit, over rounds that took longer than the strip is high. */
function cutOff(trace, longest, x, top) {
  const long = trace.rounds.map((round, at) => [at, total(round.times)]).filter(([, seconds]) => seconds > longest * 1.001);
  return long.map(([at, seconds]) => label(x(at), top + 8, long.length < 6 ? `▲ ${milliseconds(seconds)}` : "▲", "middle"));
}

/** Which round stands at `clientX` of the window. */
function roundUnder(trace, chart, clientX) {
  const box = chart.getBoundingClientRect();
  const { left, column, width } = trace.columns;
  const place = ((clientX - box.left) / box.width) * width;
  return Math.max(0, Math.min(trace.rounds.length - 1, Math.floor((place - left) / column)));
}

function fixed(number) {
  return number.toFixed(2);
}

function drafts(round) {
  return round.tree ? round.tree.tokens.length - round.tree.probes.length : 0;
}

function label(x, y, textContent, anchor) {
  const made = shape("text", { x, y, "text-anchor": anchor });
  made.textContent = textContent;
  return made;
}

/** Hatchings, so that parts differ without colour. */
function patterns() {
  const hatch = (id, d) => shape("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse" },
    shape("rect", { width: 6, height: 6, class: `${id}-ground` }), shape("path", { d, class: `${id}-line` }));
  return shape("defs", {}, hatch("hatch-draft", "M-1 7L7 -1M-1 1L1 -1M5 7L7 5"), hatch("hatch-denied", "M0 0L6 6M-1 5L1 7M5 -1L7 1"));
}

function chartWords(trace, pass) {
  const times = PARTS.map((part, place) => `${part} ${milliseconds(total(trace.rounds.map((round) => round.times[place])))}`);
  return `${plural(trace.rounds.length, "round")}: ${times.join(", ")} in all; a pass of plain decoding takes ${milliseconds(pass)}. The table below has every round.`;
}

function stageStrips(trace, now) {
  const here = byId("here");
  const { left, column } = trace.columns;
  here.setAttribute("visibility", now.round < 0 ? "hidden" : "visible");
  here.setAttribute("x", fixed(left + column * Math.max(0, now.round)));
}

function drawChartKey(trace, list) {
  const keys = {
    accepted: "drafts accepted", own: "the target’s own token", denied: "drafts rejected",
    draft: "draft", verify: "verify", sample: "sample", other: "other", pass: "a pass of plain decoding",
  };
  for (const [name, words] of Object.entries(keys)) {
    const swatch = shape("svg", { viewBox: "0 0 16 10", "aria-hidden": "true" },
      name === "pass" ? shape("path", { class: name, d: "M0 5H16" }) : shape("path", { class: name, d: "M0 0H16V10H0z" }));
    list.append(element("li", {}, swatch, ` ${words}`));
  }
}

/** Every round as a row, made when it is first looked at. */
function drawTable(trace, box) {
  const heads = ["round", "tokens", "text", "drafted", "accepted", ...PARTS.map((part) => `${part}, ms`)];
  const head = element("tr", {}, ...heads.map((textContent) => element("th", { scope: "col", textContent })));
  const body = element("tbody");
  trace.rounds.forEach((round, at) => {
    const said = trace.tokens.slice(round.first, round.first + round.count).map((token) => visible(token.label));
    const row = element("tr", {}, element("th", { scope: "row", textContent: String(at + 1) }));
    const cells = [round.count, said.join(" "), drafts(round), round.accepted, ...round.times.map((one) => (one * 1e3).toFixed(2))];
    row.append(...cells.map((cell) => element("td", { textContent: String(cell) })));
    body.append(row);
  });
  box.replaceChildren(element("table", {}, element("thead", {}, head), body));
}
