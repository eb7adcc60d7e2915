"""Training: losses, optimizers, clipping, schedules, truncated backpropagation, the loop and its checkpoints."""

from typing import TYPE_CHECKING

from xprnn.later import later
from xprnn.storage import ModelFileError, load_weights, read_tensors, write_tensors
from xprnn.train.callbacks import Callback, Checkpoint, EarlyStopping, ProgressBar
from xprnn.train.checkpoint import load_checkpoint, save_checkpoint
from xprnn.train.clip import clip_grad_norm, clip_grad_value
from xprnn.train.evaluation import evaluate
from xprnn.train.likelihoods import gaussian_nll, negative_binomial_nll, pinball, student_t_nll
from xprnn.train.loop import fit
from xprnn.train.losses import bce_with_logits, cross_entropy, huber, mae, mse
from xprnn.train.optimizer import Optimizer
from xprnn.train.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, RAdam, RMSprop
from xprnn.train.run import History, Run
from xprnn.train.schedules import Cosine, Exponential, ReduceOnPlateau, Schedule, StepDecay, Warmup

if TYPE_CHECKING:
    from xprnn.train.carried import Carried
    from xprnn.train.ctc import ctc_loss
    from xprnn.train.tbptt import Chunk, truncated_bptt
    from xprnn.train.teacher_forcing import (
        ConstantRatio,
        ExponentialRatio,
        InverseSigmoidRatio,
        LinearRatio,
        TeacherForcing,
    )

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Callback",
    "Carried",
    "Checkpoint",
    "Chunk",
    "ConstantRatio",
    "Cosine",
    "EarlyStopping",
    "Exponential",
    "ExponentialRatio",
    "History",
    "InverseSigmoidRatio",
    "LinearRatio",
    "ModelFileError",
    "Optimizer",
    "ProgressBar",
    "RAdam",
    "RMSprop",
    "ReduceOnPlateau",
    "Run",
    "Schedule",
    "StepDecay",
    "TeacherForcing",
    "Warmup",
    "bce_with_logits",
    "clip_grad_norm",
    "clip_grad_value",
    "cross_entropy",
    "ctc_loss",
    "evaluate",
    "fit",
    "gaussian_nll",
    "huber",
    "load_checkpoint",
    "load_weights",
    "mae",
    "mse",
    "negative_binomial_nll",
    "pinball",
    "read_tensors",
    "save_checkpoint",
    "student_t_nll",
    "truncated_bptt",
    "write_tensors",
]

__getattr__, __dir__ = later(
    __name__,
    {
        "carried": "Carried",
        "ctc": "ctc_loss",
        "tbptt": "Chunk truncated_bptt",
        "teacher_forcing": "ConstantRatio ExponentialRatio InverseSigmoidRatio LinearRatio TeacherForcing",
    },
)
