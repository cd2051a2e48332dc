// Finds a text in everything that the events of a run hold, long texts included, whatever its case.
"use strict";

(() => {
  const MOST = 500; // places
  const SLICE = 12; // milliseconds of work before the page may draw again
  const LEFT_OUT = new Set([
    "type",
    "run_id",
    "key",
    "blobs",
    "rollout",
    "batch",
    "trace",
    "_n",
    "_node",
    "_run",
    "parent",
    "child",
  ]);
  // Said elsewhere already: the code is part of the reply, the reply comes back among the messages.
  const TOLD = { "root.completed": new Set(["code"]), "cell.started": new Set(["code"]) };

  RLM.pattern = (query) => new RegExp(query.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gi");

  RLM.around = (text, at, query) => text.slice(Math.max(0, at - 60), at + query.length + 60);

  // onFound gets lists of { event, path, at, count, excerpt }, and `signal.stop` ends it early.
  RLM.search = async (run, query, onFound, signal) => {
    const pattern = RLM.pattern(query);
    const inBlobs = run.events.some((event) => event.blobs) ? await RLM.source.searchBlobs(run.id, query) : {};
    let total = 0;
    let until = performance.now() + SLICE;
    for (const event of run.events) {
      if (signal.stop || total >= MOST) break;
      const found = [...inEvent(event, pattern, query, inBlobs)];
      if (found.length) onFound(found);
      total += found.length;
      if (performance.now() > until) {
        await new Promise((resolve) => setTimeout(resolve));
        until = performance.now() + SLICE;
      }
    }
    return total >= MOST;
  };

  function* inEvent(event, pattern, query, inBlobs) {
    for (const [path, text] of strings(event, [])) {
      if (TOLD[event.type]?.has(path[0]) || isAgain(event, path)) continue;
      const digest = event.blobs?.[RLM.pointer(path)];
      if (digest) {
        if (inBlobs[digest]) yield { event, path, ...inBlobs[digest] };
        continue;
      }
      pattern.lastIndex = 0;
      const first = pattern.exec(text);
      if (!first) continue;
      let count = 1;
      while (count < 1000 && pattern.exec(text)) count += 1;
      yield { event, path, at: first.index, count, excerpt: RLM.around(text, first.index, query) };
    }
  }

  // What the page shows in another place, where it was sent or came back.
  const isAgain = (event, path) =>
    (event.type === "call.replied" && Boolean(event._node?.event?.messages)) ||
    (event.type === "root.requested" && event.messages[path[1]]?.role === "assistant") ||
    (event.type === "call.completed" && path[0] === "prompt" && Boolean(event.messages || event.child));

  function* strings(value, path) {
    if (typeof value === "string") {
      yield [path, value];
    } else if (value && typeof value === "object") {
      for (const key of Object.keys(value)) {
        if (path.length === 0 && LEFT_OUT.has(key)) continue;
        yield* strings(value[key], [...path, Array.isArray(value) ? Number(key) : key]);
      }
    }
  }

  // Marks the query in what is shown, without touching the elements; returns the first place within `box`.
  RLM.mark = (query, root, box) => {
    if (!window.CSS?.highlights) return null;
    CSS.highlights.delete("found");
    if (!query) return null;
    const pattern = RLM.pattern(RLM.visible(query));
    const ranges = [];
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    let first = null;
    while (walker.nextNode() && ranges.length < 2000) {
      for (const match of walker.currentNode.data.matchAll(pattern)) {
        const range = new Range();
        range.setStart(walker.currentNode, match.index);
        range.setEnd(walker.currentNode, match.index + match[0].length);
        ranges.push(range);
        if (!first && box?.contains(walker.currentNode)) first = range;
      }
    }
    CSS.highlights.set("found", new Highlight(...ranges));
    return first;
  };
})();
