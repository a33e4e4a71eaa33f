"""What both trainings do in the same way."""
import os

import torch


def rate_share(step, steps, warm_up, flat):
    """The learning rate over its highest: it rises for warm_up steps, and falls to 0 from the part `flat` of the run on."""
    part = step / steps
    return min(1, (step + 1) / warm_up) * (1 if part < flat else (1 - part) / (1 - flat))


def blend(average, net, keep):
    """Moves the running average of the weights towards those of the network."""
    for k, v in net.state_dict().items():
        average[k].lerp_(v, 1 - keep)


def save(state, path):
    """At once or not at all: a run may be ended at any moment."""
    torch.save(state, path + ".new")
    os.replace(path + ".new", path)
