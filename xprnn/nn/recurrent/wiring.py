"""Which neurons of an LTC have synapses: the layers of a neural circuit policy."""

from __future__ import annotations

import numpy as np

from xprnn.arguments import affordable, size, sizes
from xprnn.randomness import Rng, generator

Signs = np.ndarray


def ncp_wiring(
    inputs: int,
    inter: int,
    command: int,
    motor: int,
    *,
    input_fanout: int,
    inter_fanout: int,
    recurrent: int,
    motor_fanin: int,
    rng: Rng = None,
) -> tuple[Signs, Signs]:
    """The wiring of a neural circuit policy (Lechner et al. 2020, Nature Machine Intelligence 2, 642), for an LTC.

    Inputs lead to inter neurons, these to command neurons, which also lead to each other, and these to motor neurons.
    A source has as many targets as its fanout says, drawn without repetition, a motor neuron as many sources as
    ``motor_fanin``, and command neurons ``recurrent`` synapses between them; who would be left out then gets one. Signs
    are drawn too. Units stand in the order motor, command, inter: the policy's outputs are the first of an LTC's.

    Returns two arrays of 0, 1 and -1, (H, I) and (H, H) with H = motor + command + inter, as ``wiring`` of LTC takes
    them. Raises ValueError for sizes below 1, and a fanout or fanin above the number of those that it leads to.
    """
    owner, draws = "ncp_wiring", generator(rng)
    inputs, inter = sizes(owner, inputs=inputs, inter=inter)
    command, motor = sizes(owner, command=command, motor=motor)
    recurrent = size(owner, "recurrent", recurrent, 0)
    for name, number, most in (
        ("input_fanout", input_fanout, inter),
        ("inter_fanout", inter_fanout, command),
        ("motor_fanin", motor_fanin, command),
    ):
        if size(owner, name, number) > most:
            raise ValueError(f"{owner}: {name} is {number}; expected at most {most}, as many as there are")

    def drawn(sources: int, targets: int, each: int) -> Signs:
        """Synapses (targets, sources): so many of each source, and one at the least of each target."""
        signs = np.zeros((targets, sources))
        for source in range(sources):
            signs[draws.choice(targets, each, replace=False), source] = 1.0
        for target in np.flatnonzero(~signs.any(axis=1)):
            signs[target, draws.integers(sources)] = 1.0
        return signs * draws.choice([-1.0, 1.0], signs.shape)

    units = motor + command + inter
    affordable(owner, {"inner": (units, units)}, motor=motor, command=command, inter=inter)
    sensory, inner = np.zeros((units, inputs)), np.zeros((units, units))
    motors, commands, inters = slice(motor), slice(motor, motor + command), slice(motor + command, units)
    sensory[inters] = drawn(inputs, inter, input_fanout)
    inner[commands, inters] = drawn(inter, command, inter_fanout)
    inner[motors, commands] = drawn(motor, command, motor_fanin).T
    for _ in range(recurrent):
        inner[motor + draws.integers(command), motor + draws.integers(command)] = draws.choice([-1.0, 1.0])
    return sensory, inner
