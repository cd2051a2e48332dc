// One turn: what was sent, what the model said, the code, what came of it, and what it asked of others.
"use strict";

(() => {
  const { h } = RLM;

  RLM.turnView = (turn, pick) => [
    { key: "head", stamp: turn.version, build: () => head(turn, pick) },
    ...turn.requests.map((request, n) => ({
      key: `request-${n}`,
      stamp: Boolean(request.reply),
      build: () => exchange(turn, request, n),
    })),
    ...turn.cells.map((cell, n) => ({
      key: `cell-${n}`,
      stamp: Boolean(cell.completed),
      build: () => cellCard(turn, cell),
    })),
    ...turn.batches.map((batch) => ({ key: batch.id, stamp: batch.version, build: () => batchCard(batch, pick) })),
    turn.functions.length > 0 && {
      key: "functions",
      stamp: turn.functions.length,
      build: () => RLM.card("Functions called", functions(turn.functions)),
    },
    turn.answers.length > 0 && {
      key: "answers",
      stamp: turn.answers.length,
      build: () =>
        RLM.card(
          "The answer changed",
          turn.answers.map((version) => RLM.answerChange(version, pick)),
        ),
    },
    turn.incidents.length > 0 && {
      key: "incidents",
      stamp: turn.incidents.length,
      build: () =>
        RLM.card(
          "Notices",
          h(
            "ul.incidents",
            {},
            turn.incidents.map((event) => h("li", {}, RLM.oneLine(RLM.incident(event), 1000))),
          ),
        ),
    },
  ];

  function head(turn, pick) {
    const reply = turn.requests.at(-1)?.reply;
    const cell = turn.cells.at(-1)?.completed;
    const calls = turn.batches.reduce((sum, batch) => sum + batch.size, 0);
    return h(
      "section.card.head",
      {},
      RLM.crumbs(turn, pick),
      RLM.figures(
        RLM.figure("Status", RLM.pill(turn.status, cell && cell.status !== "ok" ? cell.status : turn.status)),
        RLM.figure("Reply", reply ? RLM.duration(reply.seconds) : "–", reply && `${RLM.tokens(reply)} tokens`),
        RLM.figure(
          "Cell",
          cell ? RLM.duration(cell.seconds) : "–",
          cell && `${RLM.duration(cell.active_seconds)} active`,
        ),
        calls > 0 && RLM.figure("Sub-calls", RLM.number(calls)),
        RLM.figure(
          "Tokens",
          RLM.count(turn.total.input + turn.total.output),
          turn.children.length ? "with all below" : null,
        ),
        RLM.figure("Cost", RLM.money(turn.total.cost)),
      ),
    );
  }

  function exchange(turn, { event, messages, reply }, n) {
    const last = event?.last && h("div.banner", {}, `The last request: ${String(event.last).replaceAll("_", " ")}`);
    const sent =
      event &&
      RLM.fold(
        `sent:${event._n}`,
        `Messages sent: ${messages.length}`,
        () => RLM.messages(messages, { kept: event.kept, name: "sent" }),
        { aside: event.kept ? `${messages.length - event.kept} new` : null },
      );
    return RLM.card(
      turn.requests.length > 1 ? `Request ${n + 1}` : "Root model",
      last,
      sent,
      reply ? said(reply) : h("div.empty", {}, "no reply (yet)"),
    );
  }

  function said(reply) {
    const whole = () => h("div.said", {}, RLM.textBlock(RLM.ref(reply, "text"), { name: "reply" }));
    const broken = reply.broken && h("div.banner", {}, `The reply had no usable code: ${reply.broken}`);
    const tool = reply.tool_call && h("div.hint", {}, `as a call of the tool ${reply.tool_call.name}`);
    const prose = beforeCode(reply);
    if (prose === null) return [broken, tool, whole()];
    return [
      broken,
      tool,
      h("div.said.prose", {}, RLM.textBlock(RLM.plainRef(prose), { name: "what the model said" })),
      RLM.fold(`reply:${reply._n}`, "The reply as it was written", whole),
    ];
  }

  // What a reply says before its code, which is shown as the cell; null if it cannot be taken apart.
  function beforeCode(reply) {
    const at = reply.code && !reply.blobs ? reply.text.indexOf(reply.code) : -1;
    const fence = at > 0 ? reply.text.lastIndexOf("```", at) : -1;
    const prose = fence < 0 ? "" : reply.text.slice(0, fence).trim();
    return prose || null;
  }

  function cellCard(turn, { started, completed }) {
    const code =
      started &&
      RLM.textBlock(RLM.ref(started, "code"), { paint: RLM.python, lines: true, first: 12000, name: "code" });
    return RLM.card("Cell", code, completed ? outcome(completed) : h("div.empty", {}, "running …"));
  }

  function outcome(cell) {
    return h(
      "div.outcome",
      {},
      RLM.titled(
        h(
          "span",
          {},
          "Output ",
          cell.omitted > 0 && h("span.hint", {}, `${RLM.number(cell.omitted)} characters in the middle were left out`),
        ),
        cell.output
          ? RLM.textBlock(RLM.ref(cell, "output"), { name: "output" })
          : h("div.empty", {}, "nothing was printed"),
      ),
      cell.error &&
        RLM.titled(
          "Error",
          h(
            "div.error",
            {},
            RLM.textBlock(RLM.ref(cell, "error", cell.error.traceback ? "traceback" : "value"), { name: "error" }),
          ),
        ),
      !cell.error && cell.status !== "ok" && h("div.banner.bad", {}, `The cell ended: ${cell.status}`),
      cell.variables?.length > 0 &&
        h(
          "div.variables",
          {},
          h("span.hint", {}, "new or changed: "),
          cell.variables.map((name) => h("code.chip", {}, RLM.oneLine(name, 80))),
        ),
      (cell.notices || []).map((notice) =>
        h("div.note", {}, RLM.oneLine(typeof notice === "string" ? notice : JSON.stringify(notice), 600)),
      ),
    );
  }

  function batchCard(batch, pick) {
    return h(
      "section.card",
      {},
      h(
        "h2",
        {},
        RLM.button(RLM.title(batch), () => pick(batch), { class: "link" }),
        " ",
        h("span.hint", {}, RLM.hint(batch)),
      ),
      RLM.timeline(batch, pick),
    );
  }

  const functions = (events) =>
    events.map((event) =>
      RLM.fold(
        `function:${event._n}`,
        h("span", {}, h("code", {}, `${RLM.oneLine(event.name, 60)}()`), event.failed && [" ", RLM.pill("failed")]),
        () =>
          h(
            "div",
            {},
            RLM.textBlock(RLM.plainRef(JSON.stringify({ args: event.args, kwargs: event.kwargs }, null, 1))),
            event.failed
              ? h("div.error", {}, RLM.textBlock(RLM.ref(event, "failed")))
              : RLM.textBlock(RLM.ref(event, "result")),
          ),
        { aside: RLM.duration(event.seconds) },
      ),
    );

  RLM.compactionView = (node, pick) => [
    {
      key: "compaction",
      stamp: node.version,
      build: () => {
        const { event } = node;
        return h(
          "section.card.head",
          {},
          RLM.crumbs(node, pick),
          RLM.figures(
            RLM.figure(
              "Conversation",
              `${RLM.count(event.tokens_before)} → ${RLM.count(event.tokens_after)}`,
              "tokens, estimated",
            ),
            RLM.figure("Tokens", RLM.count(event.input_tokens + event.output_tokens), RLM.tokens(event)),
            RLM.figure("Cost", RLM.money(node.total.cost)),
            RLM.figure("Time", RLM.duration(event.seconds)),
          ),
          !event.done && h("div.banner", {}, "The handover was empty: the conversation stayed as it was."),
          RLM.titled("Handover", RLM.textBlock(RLM.ref(event, "handover"), { first: 12000, name: "handover" })),
        );
      },
    },
  ];
})();
