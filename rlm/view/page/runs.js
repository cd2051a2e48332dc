// The list of runs.
"use strict";

(() => {
  const { h } = RLM;

  // `compared` is the run that another one is chosen for, if that is what the list is for.
  RLM.runsView = async (main, compared) => {
    const list = await RLM.source.runs();
    const stamp = JSON.stringify([compared, list]);
    if (main.querySelector(".run-list")?.stamp === stamp) return;
    const { runs, left_out: leftOut } = list;
    const link = (run) =>
      compared
        ? `#/compare/${encodeURIComponent(compared)}/${encodeURIComponent(run.run_id)}`
        : `#/run/${encodeURIComponent(run.run_id)}`;
    const rows = runs
      .filter((run) => run.run_id !== compared)
      .map((run) => {
        return h(
          "a.run-row",
          { href: link(run) },
          h("span.run-question", {}, RLM.oneLine(run.question || run.run_id, 220)),
          h("span.run-status", {}, RLM.pill(run.status)),
          h(
            "span.run-facts",
            {},
            h("span", {}, RLM.when(run.started)),
            h("span", {}, run.model),
            run.turns ? h("span", {}, RLM.plural(run.turns, "turn")) : null,
            run.seconds ? h("span", {}, RLM.duration(run.seconds)) : null,
            run.calls ? h("span", {}, RLM.plural(run.calls, "sub-call")) : null,
            run.turns ? h("span", {}, `cost ${RLM.money(run.cost)}`) : null,
          ),
        );
      });
    const page = h(
      "div.page.run-list",
      {},
      h("h1", {}, compared ? "Compare with which run?" : "Runs"),
      rows.length ? h("div.runs", {}, rows) : h("div.empty", {}, "There are no runs here yet."),
      leftOut > 0 && h("div.hint", {}, `and ${RLM.number(leftOut)} older ones: rlm view RUN`),
    );
    page.stamp = stamp;
    main.replaceChildren(page);
  };
})();
