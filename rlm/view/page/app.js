// Puts the page together: what the address names is shown, and kept up to date while its run goes on.
"use strict";

(() => {
  const { h } = RLM;
  const REDRAW = 120; // milliseconds between two drawings of a run that goes on
  const LOOK_AGAIN = 4000; // milliseconds; a run that was over may have been taken up again
  const main = document.getElementById("main");

  const app = (RLM.app = { run: null, selected: null, following: false });
  let stops = []; // what ends the streams of what is shown
  let redraw = () => {};
  let timer = null;

  const tree = new RLM.Tree({ onSelect: (node) => choose(node) });
  const detail = h("div.detail", { tabindex: "-1" });
  const left = h("div.left");
  const found = { query: "", hits: [], at: -1, more: false, signal: {} };
  const header = RLM.header(document.getElementById("top"), {
    live: RLM.source.live,
    onSearch: (query) => search(query),
    onStep: (step) => stepTo(step),
    onFollow: () => follow(!app.following),
  });

  // --- runs

  async function open(id) {
    const about = await RLM.source.about(id);
    const run = new RLM.Run(id, about.prices || {});
    listen(run);
    return run;
  }

  function listen(run) {
    run.over = false;
    stops.push(
      RLM.source.listen(run, {
        onEvents: (events) => {
          for (const event of events) run.add(event);
          soon();
        },
        onEnd: () => {
          run.over = true;
          run.ended();
          soon();
        },
        onError: (message) => {
          run.over = true;
          main.prepend(h("div.banner.bad", {}, message));
        },
      }),
    );
  }

  function soon() {
    timer ??= setTimeout(() => {
      timer = null;
      redraw();
    }, REDRAW);
  }

  async function lookAgain() {
    if (document.hidden || !RLM.source.live) return;
    if (main.querySelector(".run-list")) await RLM.runsView(main, app.compared);
    if (!app.run?.over) return;
    const { run } = app;
    const { status } = await RLM.source.about(run.id);
    if (status === "running" && run === app.run && run.over) {
      run.goesOn = true;
      listen(run);
    }
  }

  // --- one run

  const VIEWS = {
    run: (node, pick) => RLM.overview(app.run, pick),
    turn: RLM.turnView,
    batch: RLM.batchView,
    call: (node, pick) => (node.childRollout ? RLM.childView(node, pick) : RLM.callView(node, pick)),
    tool: RLM.toolView,
    compaction: RLM.compactionView,
  };

  async function showRun(id, wanted) {
    if (app.run?.id === id && main.contains(detail)) {
      show(app.run.nodes.get(wanted) || app.run.root);
      return;
    }
    leave();
    app.run = await open(id);
    app.wanted = wanted;
    app.following = app.run.goesOn && !wanted;
    left.replaceChildren(tree.box);
    main.replaceChildren(h("div.run-view", {}, left, detail));
    tree.show(app.run);
    redraw = drawRun;
    drawRun();
    tree.box.focus({ preventScroll: true });
  }

  function drawRun() {
    const { run } = app;
    if (app.wanted && run.nodes.has(app.wanted)) {
      app.selected = run.nodes.get(app.wanted);
      app.wanted = null;
      tree.select(app.selected);
    }
    app.selected ??= run.root;
    if (app.following && run.goesOn && !run.over) {
      const latest = run.rollouts.get("0").turn;
      if (latest) app.selected = latest;
    }
    if (tree.selected !== app.selected) tree.select(app.selected);
    else tree.update();
    header.show(run, app.following);
    document.title = `${RLM.oneLine(run.started?.question || run.id, 60)} – rlm`;
    if (detail.shown !== app.selected) empty();
    detail.shown = app.selected;
    RLM.refresh(detail, VIEWS[app.selected.kind](app.selected, choose));
    main.dataset.state = run.over ? "over" : run.events.length ? "growing" : "empty";
  }

  // A choice of the user's: the run is not followed any more, and the address says what is shown.
  function choose(node) {
    app.following = false;
    const address = `#/run/${encodeURIComponent(app.run.id)}${node === app.run.root ? "" : `?node=${encodeURIComponent(node.id)}`}`;
    if (location.hash !== address) history.replaceState(null, "", address);
    show(node);
  }

  function show(node) {
    app.selected = node;
    app.wanted = null;
    drawRun();
    if (found.query) RLM.mark(found.query, detail, null);
  }

  function empty() {
    detail.parts = new Map();
    detail.replaceChildren();
    detail.scrollTop = 0;
    detail.shown = null;
  }

  function follow(on) {
    app.following = on;
    drawRun();
  }

  function leave() {
    for (const stop of stops) stop();
    stops = [];
    search("");
    header.input.value = "";
    Object.assign(app, { run: null, selected: null, following: false });
    empty();
    delete main.dataset.state;
    redraw = () => {};
    header.show(null, false);
  }

  // --- search

  let waiting = null;
  function search(query) {
    found.signal.stop = true;
    clearTimeout(waiting);
    Object.assign(found, { query: query.trim(), hits: [], at: -1, more: false, signal: {} });
    if (found.query.length < 2) {
      found.query = "";
      RLM.mark("", detail, null);
      left.replaceChildren(tree.box);
      tree.draw();
      return;
    }
    waiting = setTimeout(find, 150);
  }

  async function find() {
    const { signal, query } = found;
    let drawn = 0;
    found.more = await RLM.search(
      app.run,
      query,
      (hits) => {
        if (signal.stop) return;
        found.hits.push(...hits);
        if (performance.now() - drawn > 200) {
          drawn = performance.now();
          drawFound();
        }
      },
      signal,
    );
    if (signal.stop) return;
    drawFound();
    RLM.mark(query, detail, null);
  }

  function drawFound() {
    const list = RLM.foundList({ ...found, onPick: (n) => goTo(n) });
    const top = left.querySelector(".found")?.scrollTop || 0;
    left.replaceChildren(list);
    list.scrollTop = top;
    list.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "nearest" });
  }

  function stepTo(step) {
    if (found.hits.length) goTo((found.at + step + found.hits.length) % found.hits.length);
  }

  async function goTo(n) {
    const hit = found.hits[n];
    if (!hit) return; // another search has begun meanwhile
    found.at = n;
    choose(hit.event._node || app.run.root);
    drawFound();
    const key = RLM.keyOf(hit.event, hit.path);
    const box = unfoldedTo(key);
    if (box) await box.reveal(hit.at);
    const place = RLM.mark(found.query, detail, box);
    const target = place ? place.startContainer.parentElement : box;
    const top = place ? place.getBoundingClientRect().top : target?.getBoundingClientRect().top;
    if (target) detail.scrollTop += top - detail.getBoundingClientRect().top - detail.clientHeight / 3;
  }

  // The block of a text, unfolded if it is folded away.
  function unfoldedTo(key) {
    const block = () => [...detail.querySelectorAll(".text")].find((each) => each.dataset.key === key);
    for (const fold of detail.querySelectorAll("details.fold:not([open])")) {
      if (block()) break;
      fold.reveal();
      if (!block()) fold.open = false;
    }
    const box = block();
    for (let fold = box?.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    return box;
  }

  // --- keys

  document.addEventListener("keydown", (event) => {
    if (
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      document.querySelector("dialog") ||
      event.target.closest("input")
    )
      return;
    if (event.key === "?") {
      RLM.help();
      event.preventDefault();
    }
    if (!app.run || !main.contains(detail)) return;
    const inTree = document.activeElement === tree.box || document.activeElement === document.body;
    if (["PageUp", "PageDown", "Home", "End"].includes(event.key) && !inTree) return;
    if (event.key === "Enter" && event.target.closest("button, a, summary, tr")) return;
    const own = {
      "/": () => header.input.focus(),
      f: () => follow(!app.following),
      n: () => stepTo(1),
      N: () => stepTo(-1),
    };
    if (event.key === "Escape" && found.query) {
      header.input.value = "";
      search("");
    } else if (Object.hasOwn(own, event.key)) own[event.key]();
    else if (!left.contains(tree.box) || !tree.key(event.key)) return;
    event.preventDefault();
  });

  // --- addresses: #/  #/run/ID?node=NODE  #/pick/ID  #/compare/ID/ID

  async function route() {
    const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
    const [view, ...names] = path.split("/").map(decodeURIComponent);
    try {
      if (RLM.source.only) await showRun(RLM.source.only, new URLSearchParams(query).get("node"));
      else if (view === "run" && names[0]) await showRun(names[0], new URLSearchParams(query).get("node"));
      else if (view === "compare" && names[1]) await showTwo(...names);
      else {
        leave();
        app.compared = view === "pick" ? names[0] : null;
        await RLM.runsView(main, app.compared);
      }
    } catch (error) {
      main.replaceChildren(h("div.page", {}, h("div.banner.bad", {}, String(error.message || error))));
    }
  }

  async function showTwo(first, second) {
    leave();
    const runs = await Promise.all([open(first), open(second)]);
    const view = RLM.compareView(main, ...runs);
    redraw = view.refresh;
    redraw();
  }

  // The token is in the cookie now; it need not stand in the address.
  if (location.search) history.replaceState(null, "", location.pathname + location.hash);
  window.addEventListener("hashchange", route);
  setInterval(() => lookAgain().catch(() => {}), LOOK_AGAIN); // the server may be gone: what is shown stays
  route();
})();
