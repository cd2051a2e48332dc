// From events to a tree: a run, its turns, their batches, the calls of these, and below a call its tools or a child's
// turns.
"use strict";

(() => {
  class TreeNode {
    constructor(id, kind, parent) {
      this.id = id;
      this.kind = kind;
      this.parent = parent;
      this.children = [];
      this.status = "running";
      this.version = 0; // grows with every change here or below
      this.own = usage();
      this.total = usage();
      if (parent) parent.children.push(this);
    }
  }

  // `cost` is null as soon as a price is not known.
  const usage = () => ({ input: 0, output: 0, calls: 0, cost: 0, estimated: false });

  class Run {
    constructor(id, prices = {}) {
      this.id = id;
      this.prices = prices;
      this.events = [];
      this.nodes = new Map();
      this.rollouts = new Map(); // by name: what the page knows of each
      this.incidents = []; // notices, deaths of kernels and the like
      this.goesOn = true;
      this.result = null;
      this.started = this.tools = null;
      this.root = this.node("0", "run", null);
      this.root.run = this;
      this.rollout("0", this.root);
    }

    add(event) {
      event._n = this.events.length;
      event._run = this;
      this.lastTs = event.ts;
      this.events.push(event);
      const handler = HANDLERS[event.type];
      if (handler) event._node = handler(this, event, this.rollout(event.rollout || "0")) || null;
      touch(event._node || this.root);
    }

    node(id, kind, parent) {
      if (!this.nodes.has(id)) this.nodes.set(id, new TreeNode(id, kind, parent));
      return this.nodes.get(id);
    }

    rollout(name, node) {
      if (!this.rollouts.has(name)) {
        this.rollouts.set(name, {
          name,
          node: node || this.root,
          turn: null,
          sent: [],
          answers: [],
          batches: [],
          compactions: [],
        });
      }
      return this.rollouts.get(name);
    }

    ended() {
      this.goesOn = false;
      for (const node of this.nodes.values())
        if (node.status === "running") node.status = node === this.root ? "killed" : "unfinished";
      touch(this.root);
    }

    price(model, event) {
      const [input, output, cached] = [
        event.input_tokens || 0,
        event.output_tokens || 0,
        event.cached_input_tokens || 0,
      ];
      if (!input && !output) return 0;
      const price = this.prices[model];
      return price ? (input - cached) * price[0] + output * price[1] + cached * price[2] : null;
    }
  }

  function touch(node) {
    for (let each = node; each; each = each.parent) each.version += 1;
  }

  function spend(run, node, event, model) {
    const cost = run.price(model, event);
    const add = (to) => {
      to.input += event.input_tokens || 0;
      to.output += event.output_tokens || 0;
      to.calls += event.attempts || 0;
      to.cost = to.cost === null || cost === null ? null : to.cost + cost;
      to.estimated = to.estimated || Boolean(event.estimated);
    };
    add(node.own);
    for (let each = node; each; each = each.parent) add(each.total);
  }

  function turnOf(run, rollout, number) {
    const node = run.node(`${rollout.name}/t${number}`, "turn", rollout.node);
    if (!node.requests) {
      Object.assign(node, {
        number,
        rollout,
        requests: [],
        cells: [],
        batches: [],
        answers: [],
        functions: [],
        incidents: [],
      });
      if (rollout.turn?.status === "running") rollout.turn.status = "ok";
    }
    rollout.turn = node;
    return node;
  }

  function batchOf(run, rollout, event) {
    const node = run.node(`b${event.batch}`, "batch", rollout.turn || rollout.node);
    if (!node.calls) {
      Object.assign(node, { run, name: event.batch, calls: new Map(), size: 0, counts: null, rollout, at: event.ts });
      rollout.turn?.batches.push(node);
      rollout.batches.push(node);
    }
    return node;
  }

  function callOf(run, batch, index, event) {
    const node = run.node(`${batch.id}/${index}`, "call", batch);
    if (!batch.calls.has(index)) {
      batch.calls.set(index, node);
      Object.assign(node, { index, batch, event: null, replies: [], tools: [], at: event.ts });
      inOrder(batch.children);
    }
    return node;
  }

  // Calls end in any order: the last of these goes where its index says.
  function inOrder(calls) {
    for (let at = calls.length - 1; at > 0 && calls[at - 1].index > calls[at].index; at -= 1) {
      [calls[at - 1], calls[at]] = [calls[at], calls[at - 1]];
    }
  }

  function incident(run, event, rollout) {
    const where = rollout.turn || rollout.node;
    run.incidents.push(event);
    where.incidents?.push(event);
    return where;
  }

  function callStatus(event) {
    if (event.error) return event.error.kind === "cancelled" ? "cancelled" : "failed";
    return event.cached ? "cached" : "ok";
  }

  const HANDLERS = {
    "run.started": (run, event) => {
      run.started = event;
    },
    "run.resumed": (run, event, rollout) => {
      run.goesOn = true;
      run.result = null;
      run.root.status = "running";
      return incident(run, event, rollout);
    },
    "inputs.hashed": (run, event) => {
      run.hashes = new Map((event.inputs || []).map((input) => [input.name, input.sha256]));
    },
    "tools.opened": (run, event) => {
      run.tools = event;
    },
    "child.started": (run, event, rollout) => {
      const batch = batchOf(run, run.rollout(event.parent), event);
      rollout.node = callOf(run, batch, event.index, event);
      Object.assign(rollout.node, { child: event.rollout, query: event, childRollout: rollout });
      return rollout.node;
    },
    "child.completed": (run, event, rollout) => {
      rollout.end = event;
      if (rollout.turn?.status === "running") rollout.turn.status = "ok";
      return rollout.node;
    },
    "turn.started": (run, event, rollout) => {
      const turn = turnOf(run, rollout, event.turn);
      turn.started = event;
      return turn;
    },
    "root.requested": (run, event, rollout) => {
      const turn = turnOf(run, rollout, event.turn);
      const fresh = event.messages.map((message, n) => ({ message, event, path: ["messages", n] }));
      rollout.sent = [...rollout.sent.slice(0, event.kept), ...fresh];
      turn.requests.push({ event, messages: rollout.sent, reply: null });
      return turn;
    },
    "root.completed": (run, event, rollout) => {
      const turn = turnOf(run, rollout, event.turn);
      const request = turn.requests.at(-1);
      if (request && !request.reply) request.reply = event;
      else turn.requests.push({ event: null, messages: [], reply: event });
      spend(run, turn, event, event.model);
      return turn;
    },
    "compaction.completed": (run, event, rollout) => {
      const node = run.node(`${rollout.name}/c${rollout.compactions.length + 1}`, "compaction", rollout.node);
      Object.assign(node, { event, rollout, status: event.done ? "ok" : "failed" });
      rollout.compactions.push(node);
      spend(run, node, event, event.model);
      return node;
    },
    "cell.started": (run, event, rollout) => {
      const turn = turnOf(run, rollout, event.turn);
      turn.cells.push({ started: event, completed: null });
      return turn;
    },
    "cell.completed": (run, event, rollout) => {
      const turn = turnOf(run, rollout, event.turn);
      const cell = turn.cells.at(-1);
      if (cell && !cell.completed) cell.completed = event;
      else turn.cells.push({ started: null, completed: event });
      turn.status = event.status === "ok" ? "ok" : "failed";
      return turn;
    },
    "batch.started": (run, event, rollout) => {
      const batch = batchOf(run, rollout, event);
      Object.assign(batch, { started: event, size: event.size, at: event.ts });
      return batch;
    },
    "call.completed": (run, event, rollout) => {
      const batch = batchOf(run, rollout, event);
      const call = callOf(run, batch, event.index, event);
      Object.assign(call, { event, status: callStatus(event) });
      batch.size = Math.max(batch.size, batch.calls.size);
      spend(run, call, event, event.model);
      return call;
    },
    "call.replied": (run, event, rollout) => {
      const call = callOf(run, batchOf(run, rollout, event), event.index, event);
      call.replies.push(event);
      return call;
    },
    "context.read": (run, event) => {
      run.read = event;
    },
    "tool.completed": (run, event, rollout) => {
      const call = callOf(run, batchOf(run, rollout, event), event.index, event);
      const node = run.node(`${call.id}/x${call.tools.length + 1}`, "tool", call);
      Object.assign(node, { event, status: event.failed ? "failed" : "ok" });
      call.tools.push(node);
      return node;
    },
    "batch.completed": (run, event, rollout) => {
      const batch = batchOf(run, rollout, event);
      Object.assign(batch, { counts: event, status: event.failed ? "failed" : event.cancelled ? "cancelled" : "ok" });
      batch.size = Math.max(batch.size, event.ok + event.failed + event.cancelled);
      return batch;
    },
    "answer.changed": (run, event, rollout) => {
      const version = { event, turn: rollout.turn, before: rollout.answers.at(-1)?.event || null };
      rollout.answers.push(version);
      rollout.turn?.answers?.push(version);
      return rollout.turn || rollout.node;
    },
    "function.completed": (run, event, rollout) => {
      rollout.turn?.functions.push(event);
      return rollout.turn || rollout.node;
    },
    "kernel.started": (run, event, rollout) => {
      rollout.kernel = event;
      return rollout.node;
    },
    "kernel.died": incident,
    "kernel.restarted": incident,
    "cell.diverged": incident,
    notice: incident,
    "protocol.error": incident,
    "run.completed": (run, event) => {
      run.result = event.result;
      run.completed = event;
      run.root.status =
        event.result.stop_reason === "answered" ? "ok" : event.result.stop_reason === "error" ? "failed" : "stopped";
      const last = run.rollouts.get("0").turn;
      if (last?.status === "running") last.status = "ok";
    },
  };

  RLM.incident = (event) =>
    ({
      "run.resumed": () =>
        `the run was taken up again: ${RLM.plural(event.turns || 0, "turn")} and ${RLM.plural(event.calls || 0, "call")} of the record`,
      "kernel.died": () => `the kernel died (${event.reason}): ${event.detail}`,
      "kernel.restarted": () =>
        `a fresh kernel after ${RLM.duration(event.seconds)}${event.sandbox_lost ? ", in a new sandbox" : ""}`,
      "cell.diverged": () => `turn ${event.turn}: a cell that was executed again did something else than it had`,
      notice: () => event.text,
      "protocol.error": () => `the sandbox broke the protocol: ${event.detail}`,
    })[event.type]();

  RLM.Run = Run;
})();
