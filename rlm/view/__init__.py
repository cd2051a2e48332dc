"""The viewer: a page that shows a run's trace, also while the run goes on, and its server on loopback.

The page (`page/`) is static and has no build step: plain scripts, each of which adds its part to one object, `RLM`. The
same files serve the viewer and, put together into one, the export (`rlm.export.html`).
"""
