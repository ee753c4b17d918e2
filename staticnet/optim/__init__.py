"""Optimizers: traced code over states, compiled into the training step; names and formulas of torch.optim."""

from staticnet.optim.adam import Adam, AdamW
from staticnet.optim.optimizer import Optimizer
from staticnet.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]
