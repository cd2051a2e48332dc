// Two runs side by side: figures, answers, and turn by turn.
"use strict";

(() => {
  const { h } = RLM;

  RLM.compareView = (main, first, second) => {
    const box = h("div.page.compare");
    main.replaceChildren(box);
    const sides = [first, second];
    return {
      refresh: () =>
        RLM.refresh(box, [
          { key: "head", stamp: versions(sides), build: () => head(sides) },
          { key: "answers", stamp: answersStamp(sides), build: () => answers(sides) },
          ...turns(sides),
        ]),
    };
  };

  const versions = (sides) => sides.map((run) => run.root.version).join(":");
  const rootOf = (run) => run.rollouts.get("0");
  const answersStamp = (sides) => sides.map((run) => `${rootOf(run).answers.length}${Boolean(run.result)}`).join(":");
  const link = (run, node) =>
    `#/run/${encodeURIComponent(run.id)}${node ? `?node=${encodeURIComponent(node.id)}` : ""}`;
  const pair = (name, cells) => h(`div.pair.${name}`, {}, cells);

  function head(sides) {
    const rows = [
      ["question", (run) => RLM.oneLine(run.started?.question, 300)],
      ["status", (run) => RLM.pill(RLM.statusOf(run))],
      ["models", (run) => (run.started?.models || []).join(" → ")],
      ["turns", (run) => RLM.number(run.root.children.filter((node) => node.kind === "turn").length)],
      [
        "sub-calls",
        (run) =>
          RLM.number([...run.nodes.values()].reduce((sum, node) => sum + (node.kind === "batch" ? node.size : 0), 0)),
      ],
      ["tokens", (run) => RLM.tokens(run.root.total)],
      ["cost", (run) => RLM.money(run.result ? run.result.cost : run.root.total.cost)],
      ["time", (run) => RLM.duration(run.result ? run.result.seconds : run.lastTs - run.started?.ts)],
      ["settings that differ", (run) => differing(sides, run)],
    ];
    return h(
      "section.card.head",
      {},
      h("h1", {}, "Side by side"),
      h(
        "div.scroll-x",
        {},
        h(
          "table.versus",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              h("th"),
              sides.map((run, n) => h("th", {}, h("span.side", {}, "AB"[n]), " ", h("a", { href: link(run) }, run.id))),
            ),
          ),
          h(
            "tbody",
            {},
            rows.map(([name, value]) =>
              h(
                "tr",
                {},
                h("td.name", {}, name),
                sides.map((run) => h("td", {}, value(run))),
              ),
            ),
          ),
        ),
      ),
    );
  }

  function differing(sides, run) {
    const settings = sides.map((each) => ({ ...each.started?.limits, ...each.started?.settings }));
    const names = [...new Set(settings.flatMap(Object.keys))].filter(
      (name) => JSON.stringify(settings[0][name]) !== JSON.stringify(settings[1][name]),
    );
    const own = settings[sides.indexOf(run)];
    const told = names
      .filter((name) => name in own && !["trace_dir", "base_url"].includes(name))
      .map((name) => `${name}: ${RLM.oneLine(JSON.stringify(own[name]), 60)}`);
    return told.length ? told.join(", ") : "–";
  }

  const finalRef = (run) => {
    if (run.result) return RLM.ref(run.completed, "result", "answer");
    const last = rootOf(run).answers.at(-1);
    return last ? RLM.ref(last.event, "content") : RLM.plainRef("");
  };

  function answers(sides) {
    const refs = sides.map(finalRef);
    const card = h(
      "section.card",
      {},
      h("h2", {}, "Answers"),
      pair(
        "answers",
        refs.map((ref) => RLM.textBlock(ref, { first: 8000, name: "answer" })),
      ),
    );
    if (refs.every((ref) => !ref.digest && ref.text.length < 100000)) {
      card.append(
        RLM.fold("compare-diff", "Changes from A to B", () => RLM.diff(refs[0].text, refs[1].text), { isOpen: true }),
      );
    }
    return card;
  }

  function turns(sides) {
    const lists = sides.map((run) => run.root.children.filter((node) => node.kind === "turn"));
    const count = Math.max(...lists.map((list) => list.length));
    return Array.from({ length: count }, (_, n) => {
      const both = lists.map((list) => list[n]);
      return {
        key: `turn-${n}`,
        stamp: both.map((turn) => turn?.version).join(":"),
        build: () =>
          h(
            "section.card.turn-pair",
            {},
            h("h2", {}, `Turn ${n + 1}`),
            pair(
              "turn",
              both.map((turn, side) => column(sides[side], turn)),
            ),
          ),
      };
    });
  }

  function column(run, turn) {
    if (!turn) return h("div.empty", {}, "no such turn");
    const cell = turn.cells.at(-1);
    const reply = turn.requests.at(-1)?.reply;
    const calls = turn.batches.reduce((sum, batch) => sum + batch.size, 0);
    const facts = [
      RLM.tokens(turn.total),
      calls && RLM.plural(calls, "call"),
      cell?.completed && `cell ${RLM.duration(cell.completed.seconds)}`,
      `cost ${RLM.money(turn.total.cost)}`,
    ];
    return h(
      "div.column",
      {},
      h(
        "div.column-head",
        {},
        RLM.pill(turn.status, cell?.completed?.status || turn.status),
        h("span.hint", {}, facts.filter(Boolean).join(" · ")),
        h("a", { href: link(run, turn) }, "open"),
      ),
      reply && !cell && RLM.textBlock(RLM.ref(reply, "text"), { first: 1500, name: "reply" }),
      cell?.started && RLM.textBlock(RLM.ref(cell.started, "code"), { first: 1500, paint: RLM.python, name: "code" }),
      cell?.completed?.output && RLM.textBlock(RLM.ref(cell.completed, "output"), { first: 800, name: "output" }),
      cell?.completed?.error &&
        h("div.error", {}, RLM.oneLine(`${cell.completed.error.name}: ${cell.completed.error.value}`, 400)),
    );
  }
})();
