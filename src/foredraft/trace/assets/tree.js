// The draft tree of one round: boxes to the right of the last token, lines between them, what became of each.

const GAP = { x: 26, y: 10 };
const BOX = { height: 44, letter: 8.4, least: 92, most: 190 };
const MARKS = { accepted: "✓", rejected: "✗", unreached: "", probe: "?", target: "●", root: "" };
const FATES = {
  accepted: "accepted",
  rejected: "rejected",
  unreached: "not reached",
  probe: "a probe, scored to be learnt from",
  target: "said by the target itself",
};

/** The boxes of a round: root first, then the drafted nodes, then the target's own token. */
function boxesOf(trace, at) {
  const round = trace.rounds[at];
  const before = round.first ? visible(trace.tokens[round.first - 1].label) : "prompt";
  const boxes = [{ label: before, parent: null, fate: "root", sources: [] }];
  const { tree } = round;
  (tree ? tree.tokens : []).forEach((label, node) => {
    boxes.push({
      label: visible(label),
      parent: tree.parents[node] + 1,
      fate: fate(round, node),
      sources: tree.sources[node],
      p: tree.p[node],
      claim: tree.claim[node],
    });
  });
  if (round.count > round.accepted) {
    const token = trace.tokens[round.first + round.count - 1];
    const above = tree && tree.path.length ? tree.path[tree.path.length - 1] + 1 : 0;
    boxes.push({ label: visible(token.label), parent: above, fate: "target", sources: [], p: token.p });
  }
  return boxes;
}

/** Gives each box its column, row, x, y and width: depth to the right, the first child beside its parent. */
function laidOut(boxes) {
  const children = boxes.map(() => []);
  boxes.forEach((box, at) => {
    if (box.parent !== null) children[box.parent].push(at);
  });
  let rows = 0;
  // A stack of its own: a chain may be deeper than calls may nest.
  const waiting = [[0, 0, 0]];
  while (waiting.length) {
    const [at, column, place] = waiting.pop();
    const box = boxes[at];
    box.column = column;
    box.row = place > 0 ? (rows += 1) : column ? boxes[box.parent].row : 0;
    // The last child is popped last: what stands first takes its parent's row, the others open rows below.
    for (let next = children[at].length - 1; next >= 0; next -= 1) waiting.push([children[at][next], column + 1, next]);
  }
  const widths = [];
  for (const box of boxes) widths[box.column] = Math.max(widths[box.column] || 0, widthOf(box));
  const lefts = [];
  widths.reduce((left, width, column) => ((lefts[column] = left), left + width + GAP.x), 4);
  for (const box of boxes) {
    Object.assign(box, { x: lefts[box.column], y: 4 + box.row * (BOX.height + GAP.y), width: widths[box.column] });
  }
  const right = lefts[lefts.length - 1] + widths[widths.length - 1] + 4;
  return { boxes, width: right, height: 8 + (rows + 1) * (BOX.height + GAP.y) - GAP.y };
}

function widthOf(box) {
  const letters = [...box.label].length + (box.fate === "root" ? 0 : lettersOf(box.sources).length);
  return Math.min(BOX.most, Math.max(box.fate === "root" ? 30 : BOX.least, (box.fate === "root" ? 6 : 52) + letters * BOX.letter));
}

/** Draws round `at`; returns the boxes' elements in the order in which they were drafted. */
function drawTree(trace, at) {
  const list = byId("nodes");
  const svg = byId("edges");
  list.replaceChildren();
  svg.replaceChildren();
  if (at < 0) {
    list.append(element("li", { className: "empty", textContent: "The prompt is scored. Press Play or step on." }));
    for (const one of [list, svg]) Object.assign(one.style, { width: "", height: "" });
    return [];
  }
  const { boxes, width, height } = laidOut(boxesOf(trace, at));
  for (const one of [list, svg]) Object.assign(one.style, { width: `${width}px`, height: `${height}px` });
  const made = boxes.map((box) => drawBox(trace, box, boxes));
  list.append(...made);
  const edges = boxes.slice(1).map((box) => drawEdge(box, boxes[box.parent]));
  svg.append(...edges);
  return boxes.slice(1).map((box, place) => ({ box, parts: [made[place + 1], edges[place]] }));
}

function drawBox(trace, box, boxes) {
  const one = element("li", { className: "box" });
  one.dataset.fate = box.fate;
  Object.assign(one.style, { left: `${box.x}px`, top: `${box.y}px`, width: `${box.width}px`, height: `${BOX.height}px` });
  const head = element("span", { className: "head" });
  if (box.fate !== "root") {
    mark(one, box.sources);
    head.append(element("b", { className: "by", textContent: lettersOf(box.sources) }));
  }
  head.append(element("code", { textContent: box.label, title: box.label }));
  if (MARKS[box.fate]) head.append(element("span", { className: "mark", textContent: MARKS[box.fate] }));
  one.append(head);
  if (box.fate !== "root") one.append(numbers(box));
  one.setAttribute("aria-label", words(trace, box, boxes));
  return one;
}

function numbers(box) {
  const line = element("span", { className: "numbers" });
  line.append(element("span", { className: "p", textContent: `p ${percent(box.p)}` }));
  if (box.claim !== undefined) line.append(element("span", { textContent: `q ${percent(box.claim)}` }));
  const bar = element("span", { className: "bar" });
  bar.style.setProperty("--share", box.p.toFixed(4));
  if (box.claim !== undefined) bar.style.setProperty("--claim", box.claim.toFixed(4));
  return element("span", {}, line, bar);
}

function words(trace, box, boxes) {
  if (box.fate === "root") return `after ${box.label}`;
  const by = box.sources.map((source) => trace.sources[source]).join(" and ");
  const claim = box.claim === undefined ? "" : `, claimed ${percent(box.claim)} percent`;
  const where = `depth ${box.column}, ${box.label} after ${boxes[box.parent].label}`;
  return `${where}: ${by ? `drafted by ${by}, ` : ""}${FATES[box.fate]}, target ${percent(box.p)} percent${claim}`;
}

function drawEdge(box, parent) {
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  const [fromX, fromY] = [parent.x + parent.width, parent.y + BOX.height / 2];
  const [toX, toY] = [box.x, box.y + BOX.height / 2];
  const middle = toX - GAP.x / 2;
  path.setAttribute("d", `M${fromX} ${fromY}C${middle} ${fromY} ${middle} ${toY} ${toX} ${toY}`);
  path.dataset.fate = box.fate;
  return path;
}

/** What stands of the tree at this moment: drafted one after another, then judged all at once. */
function stageTree(drawn, now) {
  const drafts = drawn.filter(({ box }) => box.fate !== "target").length;
  const there = Math.ceil(drafts * now.drafting);
  byId("tree").dataset.phase = now.decided ? "decided" : now.verifying ? "verifying" : "drafting";
  drawn.forEach(({ box, parts }, place) => {
    const hidden = box.fate === "target" ? !now.decided : place >= there;
    for (const part of parts) part.classList.toggle("gone", hidden);
  });
}

/** Scrolls the tree so that the end of what was accepted can be seen. */
function followTree(drawn, decided) {
  const tree = byId("tree");
  const stood = drawn.filter(({ box }) => box.fate === "accepted" || box.fate === "target");
  const last = decided && stood.length ? stood[stood.length - 1].box : null;
  tree.scrollLeft = last ? Math.max(0, last.x + last.width + 12 - tree.clientWidth) : 0;
  tree.scrollTop = last ? Math.max(0, last.y + BOX.height + 12 - tree.clientHeight) : 0;
}
