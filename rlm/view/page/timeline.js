// A batch as bars over time: one row a call, waiting and running apart, and above them how many ran at once.
"use strict";

(() => {
  const TALLEST = 340; // pixels of rows in sight; the rest is scrolled to
  const STRIP = 46;
  const LEFT = 44; // for the numbers of the calls

  const rowHeight = (count) => (count <= 24 ? 16 : count <= 80 ? 10 : 6);

  // Seconds since the batch began: when a call was asked for, when it had a place, when it was done.
  RLM.bars = (batch) => {
    const now = batch.run.lastTs || batch.at;
    const bars = [...batch.calls.values()].map((call) => {
      const event = call.event;
      const end = event ? event.ts : now;
      const start = event ? end - event.seconds : call.at;
      return { call, start, begun: start + (event?.waited || 0), end, status: call.status };
    });
    bars.sort((a, b) => a.begun - b.begun || a.call.index - b.call.index);
    const zero = Math.min(batch.at, ...bars.slice(0, 5000).map((bar) => bar.start), Infinity);
    // To the microsecond: a call that took the place of another one did not run beside it.
    for (const bar of bars)
      for (const name of ["start", "begun", "end"]) bar[name] = Math.round((bar[name] - zero) * 1e6) / 1e6;
    return {
      bars,
      seconds: Math.max(
        0.001,
        bars.reduce((most, bar) => Math.max(most, bar.end), 0),
      ),
    };
  };

  RLM.timeline = (batch, onPick) => {
    const { bars, seconds } = RLM.bars(batch);
    const height = rowHeight(bars.length);
    const rows = RLM.h("canvas.timeline-rows", {
      role: "img",
      "aria-label": `${RLM.plural(bars.length, "call")} over ${RLM.duration(seconds)}`,
    });
    const strip = RLM.h("canvas.timeline-strip", {
      role: "img",
      "aria-label": `at most ${mostAtOnce(bars)} at the same time`,
    });
    const space = RLM.h("div.timeline-space", {}, rows);
    const scroller = RLM.h("div.timeline-scroll", { onscroll: () => draw() }, space);
    const tip = RLM.h("div.timeline-tip", {}, hint(batch, bars));
    const box = RLM.h("div.timeline", { "data-bars": bars.length }, strip, scroller, tip);
    space.style.height = `${Math.max(1, bars.length * height)}px`;
    scroller.style.height = `${Math.min(TALLEST, Math.max(1, bars.length) * height)}px`;

    const at = (event) =>
      bars[Math.floor((event.clientY - scroller.getBoundingClientRect().top + scroller.scrollTop) / height)];
    scroller.addEventListener("click", (event) => at(event) && onPick(at(event).call));
    scroller.addEventListener("mousemove", (event) => at(event) && tip.replaceChildren(told(at(event))));
    scroller.addEventListener("mouseleave", () => tip.replaceChildren(hint(batch, bars)));

    const draw = () => {
      if (!box.isConnected || !scroller.clientWidth) return;
      drawRows(rows, scroller, bars, seconds, height);
      drawStrip(strip, scroller.clientWidth, bars, seconds);
    };
    new ResizeObserver(draw).observe(scroller);
    return box;
  };

  function canvas(element, width, height) {
    const scale = window.devicePixelRatio || 1;
    element.width = width * scale;
    element.height = height * scale;
    element.style.width = `${width}px`;
    element.style.height = `${height}px`;
    const brush = element.getContext("2d");
    brush.scale(scale, scale);
    brush.colour = colours(element);
    brush.font = `10px ${getComputedStyle(element).fontFamily}`;
    brush.textBaseline = "middle";
    return brush;
  }

  // What the style's colours are by day or by night: known only once an element has them.
  function colours(element) {
    const known = new Map();
    return (name) => {
      if (!known.has(name)) {
        element.style.color = `var(--${name})`;
        known.set(name, getComputedStyle(element).color);
      }
      return known.get(name);
    };
  }

  function drawRows(element, scroller, bars, seconds, height) {
    const [width, tall] = [scroller.clientWidth, scroller.clientHeight];
    const brush = canvas(element, width, tall);
    element.style.transform = `translateY(${scroller.scrollTop}px)`;
    const x = (time) => LEFT + (time / seconds) * (width - LEFT - 6);
    const first = Math.floor(scroller.scrollTop / height);
    const last = Math.min(bars.length, Math.ceil((scroller.scrollTop + tall) / height));
    const gap = height > 8 ? 2 : 1;
    for (let n = first; n < last; n += 1) {
      const bar = bars[n];
      const top = n * height - scroller.scrollTop + gap / 2;
      brush.fillStyle = brush.colour("bar-waiting");
      brush.fillRect(x(bar.start), top, Math.max(0, x(bar.begun) - x(bar.start)), height - gap);
      brush.fillStyle = brush.colour(`bar-${bar.status}`);
      brush.fillRect(x(bar.begun), top, Math.max(2, x(bar.end) - x(bar.begun)), height - gap);
      if (height >= 10 || n % 10 === 0) {
        brush.fillStyle = brush.colour("faint");
        brush.fillText(`#${bar.call.index}`, 6, top + (height - gap) / 2 + 0.5);
      }
    }
  }

  // How many calls had a place at each moment, and the scale of time.
  function drawStrip(element, width, bars, seconds) {
    const brush = canvas(element, width, STRIP);
    const [floor, most] = [STRIP - 16, Math.max(1, mostAtOnce(bars))];
    const x = (time) => LEFT + (time / seconds) * (width - LEFT - 6);
    brush.fillStyle = brush.colour("strip");
    let running = 0;
    let since = 0;
    for (const [time, step] of changes(bars)) {
      const tall = (running / most) * (floor - 4);
      const [from, to] = [Math.round(x(since)), Math.round(x(time))]; // whole pixels, or seams would show
      brush.fillRect(from, floor - tall, to - from, tall);
      running += step;
      since = time;
    }
    brush.fillStyle = brush.colour("faint");
    brush.fillText(`${most}×`, 6, 9);
    brush.strokeStyle = brush.colour("line");
    brush.beginPath();
    brush.moveTo(LEFT, floor + 0.5);
    brush.lineTo(width - 6, floor + 0.5);
    brush.stroke();
    const step = tick(seconds, Math.max(2, Math.floor((width - LEFT) / 110)));
    for (let time = 0; time <= seconds; time += step) {
      const label = step < 1 ? `${time.toFixed(Math.ceil(-Math.log10(step)))} s` : RLM.duration(time);
      brush.fillText(label, Math.min(x(time), width - 6 - brush.measureText(label).width), floor + 9);
    }
  }

  const changes = (bars) =>
    bars
      .flatMap((bar) => [
        [bar.begun, 1],
        [bar.end, -1],
      ])
      .sort((a, b) => a[0] - b[0] || a[1] - b[1]);

  function mostAtOnce(bars) {
    let [running, most] = [0, 0];
    for (const [, step] of changes(bars.filter((bar) => bar.end > bar.begun))) {
      running += step;
      most = Math.max(most, running);
    }
    return most;
  }

  function tick(seconds, count) {
    const rough = seconds / count;
    const size = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((factor) => factor * size).find((step) => step >= rough);
  }

  function hint(batch, bars) {
    const most = mostAtOnce(bars);
    const open = batch.size - bars.filter((bar) => bar.call.event).length;
    const legend = ["ok", "failed", "cached", "cancelled", "running"].filter((status) =>
      bars.some((bar) => bar.status === status),
    );
    return RLM.h(
      "span.legend",
      {},
      legend.map((status) => RLM.h(`span.key.${status}`, {}, status)),
      bars.some((bar) => bar.begun - bar.start > 0.001) && RLM.h("span.key.waiting", {}, "waiting for a place"),
      most > 1 && RLM.h("span", {}, `at most ${RLM.number(most)} at once`),
      open > 0 &&
        RLM.h(
          "span",
          {},
          batch.status === "running" ? `${RLM.number(open)} under way` : `${RLM.number(open)} only counted`,
        ),
    );
  }

  const told = ({ call, start, begun, end, status }) =>
    RLM.h(
      "span",
      {},
      `#${call.index} ${status}: `,
      begun - start > 0.001 && `waited ${RLM.duration(begun - start)}, `,
      `took ${RLM.duration(end - begun)} — ${RLM.hint(call).slice(0, 90)}`,
    );
})();
