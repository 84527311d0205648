# Generated from optimizers by python fastopt/_codegen: edit those files.
from ..spec import RULES as RULES
from .adabelief import AdaBelief as AdaBelief
from .adadelta import Adadelta as Adadelta
from .adafactor import Adafactor as Adafactor
from .adagrad import Adagrad as Adagrad
from .adam import Adam as Adam
from .adamax import Adamax as Adamax
from .adamw import AdamW as AdamW
from .adan import Adan as Adan
from .ademamix import AdEMAMix as AdEMAMix
from .adopt import ADOPT as ADOPT
from .asgd import ASGD as ASGD
from .dog import DoG as DoG
from .ftrl import FTRL as FTRL
from .lamb import LAMB as LAMB
from .lars import LARS as LARS
from .lion import Lion as Lion
from .muon import Muon as Muon
from .nadam import NAdam as NAdam
from .prodigy import Prodigy as Prodigy
from .radam import RAdam as RAdam
from .rmsprop import RMSprop as RMSprop
from .rprop import Rprop as Rprop
from .schedule_free import ScheduleFreeSGD as ScheduleFreeSGD
from .schedule_free import ScheduleFreeAdamW as ScheduleFreeAdamW
from .sgd import SGD as SGD
from .signsgd import SignSGD as SignSGD
from .yogi import Yogi as Yogi

__all__: list[str]
