"""Layers, losses and the Module they are made of, with the names and arguments of torch.nn."""

from staticnet.nn import init
from staticnet.nn.activation import ELU, GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh
from staticnet.nn.container import ModuleDict, ModuleList, Sequential
from staticnet.nn.conv import Conv2d, LazyConv2d
from staticnet.nn.dropout import Dropout
from staticnet.nn.linear import Identity, LazyLinear, Linear
from staticnet.nn.loss import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss, NLLLoss
from staticnet.nn.module import Module
from staticnet.nn.normalisation import BatchNorm1d, BatchNorm2d
from staticnet.nn.parameter import Buffer, Parameter
from staticnet.nn.pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d
from staticnet.nn.reshaping import Flatten, Unflatten

__all__ = [
    "ELU",
    "GELU",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Buffer",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Identity",
    "L1Loss",
    "LazyConv2d",
    "LazyLinear",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Unflatten",
    "init",
]
