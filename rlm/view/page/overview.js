// A rollout as a whole: the root's with its question, figures and input, or a child's.
"use strict";

(() => {
  const { h } = RLM;

  RLM.overview = (run, pick) => {
    const { root } = run;
    const rollout = run.rollouts.get("0");
    return [
      { key: "head", stamp: root.version, build: () => head(run) },
      run.result?.error && {
        key: "error",
        stamp: run.result,
        build: () => h("div.banner.bad", {}, `${run.result.error.type}: ${run.result.error.message}`),
      },
      {
        key: "answer",
        stamp: `${rollout.answers.length}:${Boolean(run.result)}`,
        build: () =>
          RLM.answers(
            rollout,
            run.result && { event: run.completed, path: ["result", "answer"], ready: run.result.ready },
            pick,
          ),
      },
      turnsPart(rollout, pick),
      run.incidents.length > 0 && {
        key: "incidents",
        stamp: run.incidents.length,
        build: () => RLM.card("Notices", incidents(run.incidents, pick)),
      },
      run.started && { key: "about", stamp: `${run.hashes?.size}:${Boolean(run.tools)}`, build: () => about(run) },
    ];
  };

  RLM.childView = (call, pick) => [
    { key: "head", stamp: call.version, build: () => childHead(call, pick) },
    call.childRollout && {
      key: "query",
      stamp: 0,
      build: () => RLM.card("Query", RLM.textBlock(RLM.ref(call.query, "query"), { name: "query" })),
    },
    call.event &&
      (call.event.error || call.event.data !== undefined || !call.childRollout.answers.length) && {
        key: "reply",
        stamp: call.version,
        build: () => RLM.callReply(call),
      },
    {
      key: "answer",
      stamp: `${call.childRollout.answers.length}:${Boolean(call.childRollout.end)}`,
      build: () => (call.childRollout.answers.length ? RLM.answers(call.childRollout, null, pick) : null),
    },
    turnsPart(call.childRollout, pick),
  ];

  const turnsPart = (rollout, pick) => ({
    key: "turns",
    stamp: rollout.node.version,
    build: () => RLM.card("Turns", turnTable(rollout, pick)),
  });

  function head(run) {
    const { root, result, started } = run;
    const batches = [...run.nodes.values()].filter((node) => node.kind === "batch");
    const calls = batches.reduce((sum, batch) => sum + batch.size, 0);
    const usage = rootAndSub(run);
    const cost = result ? result.cost : root.total.cost;
    const last = run.events.at(-1)?.ts;
    return h(
      "section.card.head",
      {},
      h(
        "div.question",
        {},
        started ? RLM.textBlock(RLM.ref(started, "question"), { first: 1200, name: "question" }) : "starting …",
      ),
      RLM.figures(
        RLM.figure("Status", RLM.pill(RLM.statusOf(run))),
        RLM.figure(
          "Turns",
          RLM.number(root.children.filter((node) => node.kind === "turn").length),
          started && `of ${started.limits?.max_turns ?? run.rollouts.get("0").turn?.started?.max_turns ?? "–"}`,
        ),
        RLM.figure(
          "Sub-calls",
          RLM.number(calls),
          batches.length ? `in ${RLM.plural(batches.length, "batch", "batches")}` : null,
        ),
        RLM.figure("Root tokens", RLM.count(usage.root.input + usage.root.output), RLM.tokens(usage.root)),
        RLM.figure("Sub tokens", RLM.count(usage.sub.input + usage.sub.output), RLM.tokens(usage.sub)),
        RLM.figure("Cost", RLM.money(cost), cost === null ? "no price is known" : !result ? "so far" : null),
        run.read &&
          RLM.figure(
            "Input read",
            RLM.bytes(run.read.bytes),
            started && `of ${RLM.bytes((started.inputs || []).reduce((sum, input) => sum + (input.bytes || 0), 0))}`,
          ),
        RLM.figure(
          "Time",
          RLM.duration(result ? result.seconds : started && last ? last - started.ts : null),
          started && RLM.when(started.ts),
        ),
      ),
    );
  }

  // The root's own requests, and all below; from the result once there is one, which is exact.
  function rootAndSub(run) {
    if (run.result?.usage) {
      const of = (usage) => ({ input: usage.input_tokens, output: usage.output_tokens, estimated: usage.estimated });
      return { root: of(run.result.usage.root), sub: of(run.result.usage.sub) };
    }
    const root = { input: 0, output: 0, estimated: false };
    for (const node of run.root.children) {
      root.input += node.own.input;
      root.output += node.own.output;
      root.estimated = root.estimated || node.own.estimated;
    }
    const all = run.root.total;
    return { root, sub: { input: all.input - root.input, output: all.output - root.output, estimated: all.estimated } };
  }

  function childHead(call, pick) {
    const { end } = call.childRollout;
    return h(
      "section.card.head",
      {},
      RLM.crumbs(call, pick),
      RLM.figures(
        RLM.figure("Status", RLM.pill(end ? end.stop_reason : call.status)),
        RLM.figure(
          "Turns",
          RLM.number(call.children.filter((node) => node.kind === "turn").length),
          `of ${call.query?.max_turns ?? "–"}`,
        ),
        RLM.figure("Model", call.query?.model ?? "–"),
        RLM.figure("Tokens", RLM.count(call.total.input + call.total.output), RLM.tokens(call.total)),
        RLM.figure("Cost", RLM.money(call.total.cost)),
        RLM.figure("Time", RLM.duration(end?.seconds)),
      ),
    );
  }

  function turnTable(rollout, pick) {
    const nodes = rollout.node.children.filter((node) => node.kind === "turn" || node.kind === "compaction");
    if (!nodes.length) return h("div.empty", {}, "none yet");
    const most = Math.max(...nodes.map((node) => spent(node).model + spent(node).cell), 0.001);
    const row = (node) => {
      const { model, cell } = spent(node);
      const width = (seconds) => {
        const bar = h("i", {});
        bar.style.width = `${(100 * seconds) / most}%`;
        return bar;
      };
      const [first, second] = [width(model), width(cell)];
      first.className = "by-model";
      second.className = "by-cell";
      return h(
        "tr.pick",
        { tabindex: "0", onclick: () => pick(node), onkeydown: (event) => event.key === "Enter" && pick(node) },
        h("td", {}, h(`span.dot.${node.status}`), RLM.title(node)),
        h("td.wide", {}, RLM.hint(node)),
        h(
          "td.split",
          { title: `model ${RLM.duration(model)}, cell ${RLM.duration(cell)}` },
          h("span.split-bar", {}, first, second),
        ),
        h("td.number", {}, RLM.duration(model + cell)),
        h("td.number", {}, calls(node) || ""),
        h("td.number", {}, RLM.count(node.total.input + node.total.output)),
        h("td.number", {}, RLM.money(node.total.cost)),
      );
    };
    return h(
      "div.scroll-x",
      {},
      h(
        "table.turns",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["", "", "model / cell", "time", "calls", "tokens", "cost"].map((name, n) =>
              h(n > 2 ? "th.number" : "th", {}, name),
            ),
          ),
        ),
        h("tbody", {}, nodes.map(row)),
      ),
    );
  }

  const calls = (node) => (node.batches || []).reduce((sum, batch) => sum + batch.size, 0);

  function spent(node) {
    if (node.kind === "compaction") return { model: node.event.seconds || 0, cell: 0 };
    const sum = (items, of) => items.reduce((total, item) => total + (of(item)?.seconds || 0), 0);
    return { model: sum(node.requests, (request) => request.reply), cell: sum(node.cells, (cell) => cell.completed) };
  }

  function incidents(events, pick) {
    return h(
      "ul.incidents",
      {},
      events.map((event) =>
        h(
          "li",
          {},
          h("span.hint", {}, RLM.when(event.ts).slice(11)),
          " ",
          event._node &&
            event._node.kind === "turn" && [
              RLM.button(RLM.title(event._node), () => pick(event._node), { class: "link" }),
              " ",
            ],
          RLM.oneLine(RLM.incident(event), 1000),
        ),
      ),
    );
  }

  function about(run) {
    const { started, tools } = run;
    const inputs = (started.inputs || []).map((input) => [
      input.name,
      input.kind,
      RLM.bytes(input.bytes),
      input.files ?? "",
      h("code.hash", {}, (run.hashes?.get(input.name) || "").slice(0, 16)),
    ]);
    return RLM.card(
      "About this run",
      RLM.pairs({
        run: run.id,
        models: (started.models || [started.model, started.sub_model]).join(" → "),
        sandbox: run.rollouts.get("0").kernel?.sandbox || started.sandbox,
        depth: started.depth,
      }),
      inputs.length > 0 && RLM.titled("Input", RLM.table(["name", "kind", "size", "files", "sha256"], inputs)),
      RLM.fold("settings", "Settings and limits", () =>
        h("div", {}, RLM.pairs({ ...started.limits, ...started.settings })),
      ),
      started.sub_system &&
        RLM.fold("sub-system", "System prompt of sub-LLMs", () =>
          RLM.textBlock(RLM.ref(tools || started, tools ? "system" : "sub_system")),
        ),
      tools &&
        RLM.fold("tools", `Tools of sub-LLMs (${tools.tools.length})`, () =>
          RLM.textBlock(RLM.plainRef(JSON.stringify(tools.tools, null, 2))),
        ),
    );
  }
})();
