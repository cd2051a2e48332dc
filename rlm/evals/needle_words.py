"""The words of the haystack, and those that hide in it."""

from __future__ import annotations

from rlm.evals.textkit import words

COMMON = words(
    "apple bread chair cloud door field fish garden green hill house letter light morning paper river road school "
    "stone summer table tree water window winter"
)

RARE = words(
    "abacus basilisk cormorant dulcimer ermine flotilla gargoyle halyard isthmus jacaranda kestrel lodestone marzipan "
    "nebula obelisk pangolin quasar rhizome samovar tamarind umbra vellum wombat xylem zeppelin"
)
