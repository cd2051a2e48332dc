// What changed between two texts: by line, and by word within lines that changed.
"use strict";

(() => {
  const MOST_STEPS = 1500; // of a comparison; texts that differ more are shown one after the other
  const CONTEXT = 3; // unchanged lines around a change

  // The shortest way from `a` to `b` (Myers): a list of ["same" | "gone" | "new", item]; null if it is too long.
  RLM.edits = (a, b, most = MOST_STEPS) => {
    let start = 0;
    while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
    let end = 0;
    while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end])
      end += 1;
    const middle = shortest(a.slice(start, a.length - end), b.slice(start, b.length - end), most);
    if (!middle) return null;
    const same = (items) => items.map((item) => ["same", item]);
    return [...same(a.slice(0, start)), ...middle, ...same(a.slice(a.length - end))];
  };

  function shortest(a, b, most) {
    const reach = new Map([[1, 0]]);
    const trace = [];
    for (let steps = 0; steps <= Math.min(a.length + b.length, most); steps += 1) {
      const before = new Map();
      for (let k = -steps; k <= steps; k += 2) {
        const down = k === -steps || (k !== steps && (reach.get(k - 1) ?? -1) < (reach.get(k + 1) ?? -1));
        const from = down ? k + 1 : k - 1;
        let x = down ? reach.get(from) : reach.get(from) + 1;
        before.set(k, [from, x]);
        while (x < a.length && x - k < b.length && a[x] === b[x - k]) x += 1;
        reach.set(k, x);
        if (x >= a.length && x - k >= b.length) {
          trace.push(before);
          return walkBack(trace, a, b);
        }
      }
      trace.push(before);
    }
    return null;
  }

  function walkBack(trace, a, b) {
    const found = [];
    let [x, k] = [a.length, a.length - b.length];
    for (let steps = trace.length - 1; steps >= 0; steps -= 1) {
      const [from, begun] = trace[steps].get(k);
      while (x > begun) found.push(["same", a[--x]]);
      if (steps === 0) break;
      if (from === k + 1) found.push(["new", b[x - k - 1]]);
      else found.push(["gone", a[--x]]);
      k = from;
    }
    return found.reverse();
  }

  // An element that shows the change from `before` to `after`.
  RLM.diff = (before, after) => {
    const lines = RLM.edits(split(before), split(after)) || [
      ...split(before).map((line) => ["gone", line]),
      ...split(after).map((line) => ["new", line]),
    ];
    const box = RLM.h("div.diff", { role: "group", "aria-label": "changes" });
    const rows = withContext(lines);
    for (let at = 0; at < rows.length;) {
      const [kind, line] = rows[at];
      if (kind === "gone" || kind === "new") {
        const gone = stretch(rows, at, "gone");
        const fresh = stretch(rows, at + gone.length, "new");
        box.append(...changed(gone, fresh));
        at += gone.length + fresh.length;
      } else {
        box.append(kind === "gap" ? RLM.h("div.gap", {}, RLM.plural(line, "unchanged line")) : row(kind, line));
        at += 1;
      }
    }
    if (!rows.length) box.append(RLM.h("div.gap", {}, "no change in the text"));
    return box;
  };

  const split = (text) => (text ? text.split("\n") : []);
  const SIGNS = { same: " ", gone: "−", new: "+" };
  const row = (kind, ...content) =>
    RLM.h(`div.${kind}`, {}, RLM.h("span.sign", {}, SIGNS[kind]), RLM.h("span.line", {}, content));

  const wordsOf = (line) => line.split(/(\s+|\b)/).filter(Boolean);

  function stretch(rows, from, wanted) {
    let to = from;
    while (rows[to]?.[0] === wanted) to += 1;
    return rows.slice(from, to).map(([, line]) => line);
  }

  // Lines that went and lines that came in their place: those of the same position are compared by word.
  function changed(gone, fresh) {
    const words = gone.map((line, n) => (n < fresh.length ? RLM.edits(wordsOf(line), wordsOf(fresh[n]), 200) : null));
    const alike = (n) => words[n]?.some(([kind, word]) => kind === "same" && word.trim());
    const side = (n, kind) =>
      joined(words[n].filter(([each]) => each === "same" || each === kind)).map(([each, word]) =>
        each === "same" ? word : RLM.h("mark", {}, word),
      );
    return [
      ...gone.map((line, n) => row("gone", alike(n) ? side(n, "gone") : line)),
      ...fresh.map((line, n) => row("new", alike(n) ? side(n, "new") : line)),
    ];
  }

  function joined(words) {
    const runs = [];
    for (const [kind, word] of words) {
      if (runs.at(-1)?.[0] === kind) runs.at(-1)[1] += word;
      else runs.push([kind, word]);
    }
    return runs;
  }

  function withContext(lines) {
    const near = new Set();
    lines.forEach(([kind], at) => {
      if (kind !== "same") for (let n = at - CONTEXT; n <= at + CONTEXT; n += 1) near.add(n);
    });
    const rows = [];
    lines.forEach((line, at) => {
      if (near.has(at)) rows.push(line);
      else if (near.size && rows.at(-1)?.[0] === "gap") rows.at(-1)[1] += 1;
      else if (near.size) rows.push(["gap", 1]);
    });
    return rows;
  }
})();
