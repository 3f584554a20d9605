"""How fast, how far and at what cost, against what people would do instead: ``make bench``.

Each part measures one comparison and says what came of it. ``results.json`` keeps what
was measured; ``docs/performance.md`` and its plots are made from that file alone.
"""
