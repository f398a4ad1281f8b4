// The two texts, the legend and what is said of one token.

const LETTERS = "ABCDEFGHIJKLMNOPQRS";
const HARD = 6; // bits at which the shade is deepest

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

function letter(source) {
  return LETTERS[source] || String(source);
}

function lettersOf(sources) {
  return sources.length ? sources.map(letter).join("") : "T";
}

/** Marks an element as proposed by `sources`: colours, lines and letters follow from it in the style sheet. */
function mark(one, sources) {
  one.dataset.by = sources.length ? sources[0] % 6 : "target";
  if (sources.length > 1) one.dataset.and = sources[1] % 6;
  one.dataset.letters = lettersOf(sources);
}

/** 0 for a token that was certain, 1 for a hard one; steeper at the easy end, where most tokens are. */
function hardness(bits) {
  return Math.min(1, Math.sqrt(bits / HARD));
}

function drawTokens(trace, box) {
  const made = trace.tokens.map((token, at) => {
    const one = element("span", { className: "tok", id: `token-${at}`, textContent: token.piece });
    one.setAttribute("role", "option");
    one.setAttribute("aria-selected", "false");
    mark(one, token.sources);
    one.style.setProperty("--hard", hardness(token.bits).toFixed(2));
    if (!token.piece) one.dataset.silent = visible(token.label);
    return apart(one);
  });
  box.append(...made);
  return made;
}

/** Keeps a piece that turns letters around from turning those beside it. */
function apart(one) {
  if (/[\u202a-\u202e\u2066-\u2069]/.test(one.textContent)) one.classList.add("apart");
  return one;
}

function drawPlain(trace, box) {
  const made = trace.plainPieces.map((piece) => apart(element("span", { textContent: piece })));
  box.append(...made);
  return made;
}

/** Shows the first `count` of `spans`, `before` being shown already, the newest at the foot of `box`. */
function show(box, spans, before, count) {
  for (let at = before; at < count; at += 1) spans[at].classList.add("on");
  for (let at = count; at < before; at += 1) spans[at].classList.remove("on");
  const newest = spans[count - 1];
  box.scrollTop = newest ? newest.offsetTop + newest.offsetHeight - box.clientHeight + 8 : 0;
}

/** Who drafted how much: one entry a source, then the target, then the scale of shades. */
function drawLegend(trace, list) {
  const drafted = trace.sources.map(() => [0, 0]);
  for (const round of trace.rounds.filter((one) => one.tree)) {
    round.tree.sources.forEach((sources, node) => {
      if (round.tree.probes.includes(node)) return;
      for (const source of sources) {
        drafted[source][0] += 1;
        drafted[source][1] += round.tree.path.includes(node) ? 1 : 0;
      }
    });
  }
  trace.sources.forEach((name, source) => {
    const [all, accepted] = drafted[source];
    if (all) list.append(legendEntry([source], name, `${accepted} of ${all} drafts accepted`));
  });
  const own = trace.tokens.filter((token) => token.node < 0).length;
  list.append(legendEntry([], "the target itself", plural(own, "token")));
  const scale = element("span", { className: "scale" });
  scale.setAttribute("aria-hidden", "true");
  for (const bits of [0, 0.25, 1, 2.5, HARD]) {
    const one = element("span", { className: "tok on", textContent: "x" });
    one.dataset.by = "target";
    one.style.setProperty("--hard", hardness(bits).toFixed(2));
    scale.append(one);
  }
  list.append(element("li", {}, "easy", scale, `hard (0 to ${HARD} bits or more)`));
}

function legendEntry(sources, name, what) {
  const sample = element("span", { className: "tok on", textContent: lettersOf(sources) });
  mark(sample, sources);
  delete sample.dataset.letters;
  sample.style.setProperty("--hard", "0.45");
  return element("li", {}, sample, " ", element("b", { textContent: name }), ` ${what}`);
}

/** Everything about one token, in words and as the target's likeliest. */
function describeToken(trace, at) {
  const words = byId("token-words");
  const list = byId("top");
  list.replaceChildren();
  const token = trace.tokens[at];
  if (!token) {
    words.textContent = "No token yet. Play, or pick a token of the text.";
    return;
  }
  const label = element("code", { textContent: visible(token.label) });
  mark(label, token.sources);
  label.className = "tok on";
  label.style.setProperty("--hard", hardness(token.bits).toFixed(2));
  words.replaceChildren(label, ` token ${at + 1}, round ${token.round + 1}: ${origin(trace, token)}. `,
    `Target’s probability ${percent(token.p)} %, entropy ${token.bits.toFixed(2)} bits.`);
  for (const [other, p] of token.top) {
    const bar = element("span", { className: "bar" });
    bar.style.setProperty("--share", p.toFixed(4));
    const entry = element("li", {}, element("code", { textContent: visible(other) }), bar, `${percent(p)} %`);
    if (other === token.label) entry.className = "said";
    list.append(entry);
  }
}

function origin(trace, token) {
  if (token.node >= 0) {
    return `drafted by ${token.sources.map((source) => trace.sources[source]).join(" and ")}, accepted`;
  }
  const { tree } = trace.rounds[token.round];
  if (!tree || tree.tokens.length === tree.probes.length) return "nothing was drafted, the target said it";
  const above = tree.path.length ? tree.path[tree.path.length - 1] : -1;
  const denied = tree.parents.some((parent, node) => parent === above && !tree.probes.includes(node));
  return denied ? "the target’s correction of the draft" : "the target’s bonus after a branch accepted to its end";
}
