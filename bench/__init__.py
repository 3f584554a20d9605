"""How fast, how far and at what cost, against what people would do instead: ``make bench``.

Each part measures one comparison and says what came of it. ``results.json`` keeps what
was measured; ``docs/performance.md`` and its plots are made from that file alone.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What runs as a Lambda function or on a machine finds its own modules beside itself.
sys.path += [str(ROOT / folder) for folder in ("processor", "ec2_userdata")]
