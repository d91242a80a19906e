"""Learning rates: fixed or by epoch, in the original's file format, and how they fade.

# epoch: rate
0:  0.05
60: 0.005
80: 0.0005
91: -1
"""

from __future__ import annotations

import math
import posixpath
from dataclasses import dataclass

from facenet_core import storage
from facenet_core.config.files import SHIPPED
from facenet_core.errors import ConfigError, StorageError
from facenet_core.text import files

_STOP = -1.0
_SHIPPED = SHIPPED / "learning_rate_schedules"
_PREFIX_OF_THE_ORIGINAL = "learning_rate_schedule_classifier_"
_FORMAT = "expected lines `epoch: rate`, such as `60: 0.005`, and -1 or - as the rate that stops"


@dataclass(frozen=True)
class Schedule:
    """Learning rates, each from its epoch on; a rate of 0 or less ends training.

    Attributes:
        steps: (epoch, rate), epochs growing.
    """

    steps: tuple[tuple[int, float], ...]

    def rate(self, epoch: int) -> float | None:
        """The rate in an epoch, counted from 1; None where training is over."""
        rate = [rate for first, rate in self.steps if first <= epoch][-1]
        return rate if rate > 0 else None

    def epochs(self, most: int) -> int:
        """How many epochs are trained, at most `most`."""
        ends = [first for first, rate in self.steps if rate <= 0]
        return min([most, *(max(first, 1) - 1 for first in ends)])

    def text(self) -> str:
        """The schedule in the file format, without comments: equal schedules give equal text."""
        return "\n".join(f"{epoch}: {rate!r}" for epoch, rate in self.steps)


@dataclass(frozen=True)
class Rates:
    """The rate of every step: a schedule, and what bends it.

    Attributes:
        schedule: rates by epoch.
        epoch_steps: steps of an epoch.
        epochs: how many there are, at the end of which a cosine arrives at zero.
        cosine: fall along half a cosine, as Loshchilov & Hutter, https://arxiv.org/abs/1608.03983,
            without restarts, from the end of the warm-up on.
        warmup_epochs: rise from zero over so many epochs, step by step.
        decay_epochs, decay_factor: multiply by the factor each time so many epochs are done, as the
            original's staircase of exponential decay.
    """

    schedule: Schedule
    epoch_steps: int
    epochs: int
    cosine: bool = False
    warmup_epochs: float = 0.0
    decay_epochs: int = 100
    decay_factor: float = 1.0

    def at(self, step: int) -> float:
        """The rate with which the step after `step` others is taken.

        Raises:
            ValueError: the schedule stops before it.
        """
        done, epoch = step / self.epoch_steps, step // self.epoch_steps + 1
        rate = self.schedule.rate(epoch)
        if rate is None:
            raise ValueError(f"epoch {epoch} is after the end of the schedule")
        rate *= self.decay_factor ** ((epoch - 1) // self.decay_epochs)
        if done < self.warmup_epochs:
            return rate * (step + 1) / (self.warmup_epochs * self.epoch_steps + 1)
        if self.cosine:
            share = (done - self.warmup_epochs) / (self.epochs - self.warmup_epochs)
            rate *= (1 + math.cos(math.pi * share)) / 2
        return rate


def choose(learning_rate: float, schedule_file: str | None) -> Schedule:
    """The fixed rate where it is positive, else the schedule in the file.

    Raises:
        ConfigError: there is neither, or the file is malformed.
    """
    if learning_rate > 0:
        return Schedule(((1, learning_rate),))
    if schedule_file is None:
        raise ConfigError(
            f"learning_rate: {learning_rate:g} asks for a schedule; set "
            "learning_rate_schedule_file or a positive learning_rate"
        )
    return read(schedule_file)


def read(path: str) -> Schedule:
    """The schedule in a file.

    Where there is no such file, it is the one of this name that comes with the package; the
    original's `data/learning_rate_schedule_classifier_casia.txt` is `casia.txt` here.

    Raises:
        ConfigError: there is no such file, or a line is malformed; names file and line.
    """
    shipped = _SHIPPED / posixpath.basename(path).removeprefix(_PREFIX_OF_THE_ORIGINAL)
    if shipped.is_file() and not storage.exists(path):
        path = str(shipped)
    try:
        data = storage.read_bytes(path)
    except (FileNotFoundError, StorageError) as error:
        raise ConfigError(f"{path}: cannot be read as a learning rate schedule: {error}") from None
    return parse(files.decode(data, path, ConfigError), path)


def parse(text: str, origin: str) -> Schedule:
    """The schedule in `text`; `origin` says in errors where it came from.

    Epochs count from 1; a first line with epoch 0 or 1 is needed, so that every epoch has a rate.
    The last rate stays. What follows a # is a comment.

    Raises:
        ConfigError: a line is malformed or epochs do not grow; names origin and line.
    """
    steps: list[tuple[int, float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.split("#", 1)[0].strip()
        if not content:
            continue
        line_name = f"{origin}, line {number}: `{content}`"
        step = _parse_line(content, line_name)
        if not steps and step[0] > 1:
            raise ConfigError(f"{line_name}: the first line must be of epoch 0 or 1")
        if steps and step[0] <= steps[-1][0]:
            raise ConfigError(
                f"{line_name}: epochs must grow, the line before is of {steps[-1][0]}"
            )
        steps.append(step)
    if not steps:
        raise ConfigError(f"{origin}: an empty learning rate schedule; {_FORMAT}")
    schedule = Schedule(tuple(steps))
    if schedule.rate(1) is None:
        raise ConfigError(f"{origin}: the schedule stops before the first epoch")
    return schedule


def _parse_line(content: str, line_name: str) -> tuple[int, float]:
    epoch_text, _, rate_text = (part.strip() for part in content.partition(":"))
    try:
        epoch = int(epoch_text)
        rate = _STOP if rate_text == "-" else float(rate_text)
    except ValueError:
        raise ConfigError(f"{line_name}: {_FORMAT}") from None
    if epoch < 0 or not math.isfinite(rate):
        raise ConfigError(f"{line_name}: {_FORMAT}")
    return epoch, rate if rate > 0 else _STOP
