"""Layers, losses and the Module they are made of, with the names and arguments of torch.nn."""

from staticnet.nn import init
from staticnet.nn.linear import Identity, LazyLinear, Linear
from staticnet.nn.module import Module
from staticnet.nn.parameter import Buffer, Parameter
