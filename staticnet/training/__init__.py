"""Training: the Trainer with its history, callbacks and checkpoints, and metrics."""

from staticnet.training import callbacks, metrics
from staticnet.training.callbacks import Callback, EarlyStopping, LearningRateSchedule, SaveBest, TerminateOnNaN
from staticnet.training.history import History
from staticnet.training.trainer import Trainer

__all__ = [
    "Callback",
    "EarlyStopping",
    "History",
    "LearningRateSchedule",
    "SaveBest",
    "TerminateOnNaN",
    "Trainer",
    "callbacks",
    "metrics",
]
