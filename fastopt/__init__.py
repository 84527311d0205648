"""fastopt: the optimizer step for numeric code, exact, in place, compiled."""

from . import functional, schedules, training
from .config import show_config
from .optimizer import Optimizer
from .optimizers import SGD, Adagrad, Adam, AdamW, RMSprop

__version__ = "0.1.0"
__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "functional", "schedules", "show_config", "training"]
