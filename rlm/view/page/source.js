// Where traces come from: the server of `rlm view`, or this very file (`rlm export --html`).
"use strict";

(() => {
  const inFile = document.getElementById("rlm-trace");
  RLM.source = inFile ? fromFile(JSON.parse(inFile.textContent)) : fromServer();

  // listen(run, { onEvents, onEnd, onError }) returns a function that stops it.
  function fromServer() {
    const get = async (path) => {
      const response = await fetch(path);
      if (!response.ok)
        throw new Error(
          response.status === 403
            ? "open the address that `rlm view` has printed"
            : `${path}: ${await response.text()}`,
        );
      return response;
    };
    const at = (id) => `api/runs/${encodeURIComponent(id)}`;
    return {
      live: true,
      runs: async () => (await get("api/runs")).json(),
      about: async (id) => (await get(at(id))).json(),
      blob: async (id, digest) => ({ text: await (await get(`${at(id)}/blobs/${encodeURIComponent(digest)}`)).text() }),
      searchBlobs: async (id, query) => (await get(`${at(id)}/search?q=${encodeURIComponent(query)}`)).json(),
      listen: (run, { onEvents, onEnd, onError }) => {
        // The browser comes back by itself when the connection breaks, and says what it has.
        const stream = new EventSource(`${at(run.id)}/events?skip=${run.events.length}`);
        stream.onmessage = (message) => {
          const { events, goes_on: goesOn } = JSON.parse(message.data);
          run.goesOn = goesOn;
          onEvents(events);
        };
        stream.addEventListener("end", () => {
          stream.close();
          onEnd();
        });
        stream.addEventListener("failed", (message) => {
          stream.close();
          onError(JSON.parse(message.data));
        });
        const lost = (isLost) => {
          run.lost = isLost;
          onEvents([]);
        };
        stream.onopen = () => lost(false);
        stream.onerror = () => {
          if (stream.readyState === EventSource.CLOSED) onError("the viewer's server does not answer");
          else lost(true);
        };
        return () => stream.close();
      },
    };
  }

  function fromFile(data) {
    return {
      live: false,
      only: data.run_id,
      runs: async () => ({ runs: [], left_out: 0 }),
      about: async () => ({ run_id: data.run_id, prices: data.prices, status: "" }),
      blob: async (id, digest) => {
        const found = data.blobs[digest];
        if (!found) throw new Error("this text is not in the file");
        return { text: found.text, cut: found.length > found.text.length ? found.length : 0 };
      },
      searchBlobs: async (id, query) => {
        const found = {};
        const pattern = RLM.pattern(query);
        for (const [digest, { text }] of Object.entries(data.blobs)) {
          const hits = [...text.matchAll(pattern)];
          if (hits.length)
            found[digest] = { at: hits[0].index, count: hits.length, excerpt: RLM.around(text, hits[0].index, query) };
        }
        return found;
      },
      listen: (run, { onEvents, onEnd }) => {
        onEvents(data.events);
        onEnd();
        return () => {};
      },
    };
  }
})();
