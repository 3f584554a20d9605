"""The laptop: the whole system on one machine, started by ``python -m local``.

The parts, in the order in which they start::

    emulator ──▶ deploy ──▶ vm ──▶ api ──▶ front ──▶ narrator
    AWS, as a    the real   boots   chalice  one       says what
    child        Pulumi     each    local    address   happens
                 program    VM

``system`` wires them, ``cage`` sees to it that no process outlives us. The Pulumi
program, the apps and the scripts are the ones that AWS gets: none of them knows
that this package exists.
"""
