"use strict";
// What the record says at a moment: pure functions of the record and of seconds since the prompt was scored.

const PARTS = ["draft", "verify", "sample", "other"];

/** The record with its texts looked up, the moments at which rounds end, and the stops of the replay. */
function opened(record) {
  const text = (place) => record.texts[place];
  const rounds = record.rounds.map((round, at) => ({
    ...round,
    end: at + 1 < record.rounds.length ? record.rounds[at + 1].begin : round.begin + total(round.times),
    spent: round.spent.map(([source, seconds]) => [record.sources[source], seconds]),
    tree: round.tree ? { ...round.tree, tokens: round.tree.tokens.map(text), probes: round.tree.probes || [] } : null,
  }));
  const tokens = record.tokens.map((token) => {
    const { tree } = rounds[token.round];
    return {
      ...token,
      piece: text(token.piece),
      label: text(token.label),
      sources: token.node < 0 ? [] : tree.sources[token.node],
      top: token.top.map(([label, p]) => [text(label), p]),
    };
  });
  const plain = record.plain.pieces ? record.plain.pieces.map(text) : tokens.map((token) => token.piece);
  const ends = rounds.map((round) => round.end);
  const finished = Math.max(record.seconds, record.plain.seconds, ends[ends.length - 1]);
  const begins = rounds.map((round) => round.begin);
  // Plain decoding mostly goes on after the last round.
  const stops = finished > ends[ends.length - 1] ? [0, ...ends, finished] : [0, ...ends];
  return { ...record, rounds, tokens, plainPieces: plain, begins, stops, finished };
}

function total(numbers) {
  return numbers.reduce((sum, one) => sum + one, 0);
}

/** How many of the ascending `moments` have come by `time`. */
function past(moments, time) {
  let low = 0;
  let high = moments.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (moments[middle] <= time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Where everything stands at `time`.
 *
 * stop: the last stop that was reached. round: the round under way, or the last one that ended; -1 before the first.
 * drafting: the share of its tree that is drafted. decided: whether its tokens are there. shown, plain: tokens said.
 */
function standing(trace, time) {
  const stop = past(trace.stops, time) - 1;
  const ended = Math.min(stop, trace.rounds.length);
  // At its very beginning a round is not yet under way: the one before has just ended.
  const began = past(trace.begins, time - 1e-9);
  const round = Math.max(ended, began) - 1;
  const decided = round < ended;
  const elapsed = round < 0 ? 0 : time - trace.rounds[round].begin;
  const [draft, verify] = round < 0 ? [0, 0] : trace.rounds[round].times;
  const last = ended ? trace.rounds[ended - 1] : null;
  return {
    stop,
    round,
    decided,
    elapsed: decided && round >= 0 ? total(trace.rounds[round].times) : elapsed,
    drafting: decided || draft <= 0 ? 1 : Math.min(1, elapsed / draft),
    verifying: !decided && elapsed >= draft && elapsed < draft + verify,
    shown: last ? last.first + last.count : 0,
    plain: past(trace.plain.ends, time),
  };
}

/** What became of a node: accepted, rejected (its parent stood), unreached or a probe. */
function fate(round, node) {
  const { path, parents, probes } = round.tree;
  if (probes.includes(node)) return "probe";
  if (path.includes(node)) return "accepted";
  const parent = parents[node];
  if (parent >= 0 && !path.includes(parent)) return "unreached";
  // The text may have ended inside the draft: then nothing was said after the last accepted node.
  const ended = round.accepted === round.count && parent === (path.length ? path[path.length - 1] : -1);
  return ended ? "unreached" : "rejected";
}

function speedup(trace) {
  return (trace.tokens.length / trace.seconds) / (trace.plainPieces.length / trace.plain.seconds);
}

/** The slowest replay that is not tedious: about a quarter of a minute. */
function easySpeed(trace, speeds) {
  return speeds.find((slower) => trace.finished * slower >= 15) || speeds[speeds.length - 1];
}

function milliseconds(seconds) {
  const found = seconds * 1e3;
  return `${found.toFixed(found >= 100 ? 0 : found >= 0.1 ? 1 : 2)} ms`;
}

function percent(p) {
  const found = p * 100;
  if (found >= 99.95) return "100";
  if (found >= 9.95) return found.toFixed(0);
  if (found >= 0.05) return found.toFixed(1);
  return found > 0 ? "<0.1" : "0";
}

/** A token on one line: blanks and line ends as signs, but not between the bytes of what cannot be shown. */
function visible(label) {
  if (/^«[0-9A-F ]*»$/.test(label)) return label;
  return label.replace(/ /g, "␣").replace(/\r/g, "␍").replace(/\n/g, "⏎").replace(/\t/g, "⇥");
}

function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}
