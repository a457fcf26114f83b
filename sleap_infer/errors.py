"""Every error of the package, on one page.

    SleapInferError
    ├── ModelError                  a model cannot be used
    │   ├── ModelNotFoundError          nothing there
    │   ├── ModelConfigError            the configuration is unreadable or contradicts itself
    │   ├── CheckpointError             the weights file is truncated, of another program or unsafe
    │   ├── WeightsMismatchError        the weights are not those of the configuration
    │   ├── ExportedModelError          an exported model was changed, is damaged or unknown
    │   │   └── ExportDiffersError          an export gives other poses than its source
    │   ├── UnsupportedModelError       a kind of model that is not run here
    │   └── ModelCombinationError       models that do not make a pipeline together
    ├── SourceError                 frames cannot be had
    │   ├── SourceNotFoundError         nothing there
    │   ├── SourceFormatError           there, but not something that holds frames
    │   ├── EmptySourceError            there, but without a single frame to predict
    │   ├── FrameSelectionError         frames were asked for that are not there
    │   └── FrameReadError              one frame cannot be read
    ├── ImageError                  an array is not an image or a batch of images
    ├── OptionError                 an option has a wrong value, or would have no effect
    ├── BackendError                the network cannot be run this way
    │   ├── BackendNotInstalledError    its package is missing
    │   ├── DeviceError                 its device is missing
    │   └── DeviceMemoryError           its device has too little memory
    ├── OutputError                 results cannot be written
    │   ├── OutputExistsError           something is there already
    │   └── CacheError                  other users may change what is in the cache
    └── JobError                    a batch job cannot go on
        ├── JournalError                its journal is damaged or something else
        ├── JobDiffersError             what lies there belongs to another job
        ├── JobBusyError                another process works on it
        ├── TooManyFailuresError        more frames failed than are allowed
        └── WorkerError                 its process ends again and again

Each message says what was found, what was expected, and what to do next.
"""


class SleapInferError(Exception):
    """Base of all errors that this package raises on purpose."""


class ModelError(SleapInferError):
    """A model cannot be used."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """There is no model at a path."""


class ModelConfigError(ModelError):
    """A model's configuration is unreadable, incomplete or contradicts itself."""


class CheckpointError(ModelError):
    """A weights file is truncated, is not a checkpoint, or is not safe to read."""


class WeightsMismatchError(ModelError):
    """The weights in a checkpoint do not fit the network that its configuration describes."""


class ExportedModelError(ModelError):
    """An exported model was changed since, is damaged, or does not say what it is."""


class ExportDiffersError(ExportedModelError):
    """An export was compared with its source, and differs from it beyond the limits."""


class UnsupportedModelError(ModelError):
    """The model is of a kind, or has a backbone, that this package does not run."""


class ModelCombinationError(ModelError):
    """The given models do not make a pipeline together."""


class SourceError(SleapInferError):
    """Frames cannot be had from a source."""


class SourceNotFoundError(SourceError, FileNotFoundError):
    """There is nothing at a path, or a glob matches nothing."""


class SourceFormatError(SourceError):
    """A source exists but does not hold frames in a form that can be read."""


class EmptySourceError(SourceError):
    """A source exists but has no frame to predict."""


class FrameSelectionError(SourceError, ValueError):
    """Frames were asked for that the source does not have."""


class FrameReadError(SourceError):
    """One frame of a source cannot be read.

    Attributes:
        pts: time stamp of the frame in units of its video stream, where it is known.
    """

    def __init__(self, message: str = "", pts: int | None = None) -> None:
        super().__init__(message)
        self.pts = pts


class ImageError(SleapInferError, ValueError):
    """An array cannot be read as an image or a batch of images."""


class OptionError(SleapInferError, ValueError):
    """An option has a value it cannot have, or would have no effect on this model."""


class BackendError(SleapInferError):
    """The network cannot be run the way that was asked for."""


class BackendNotInstalledError(BackendError, ImportError):
    """The package that a backend needs is not installed."""


class DeviceMemoryError(BackendError, MemoryError):
    """The device has too little memory for a batch."""


class DeviceError(BackendError):
    """The device that was asked for is not there."""


class OutputError(SleapInferError):
    """Results cannot be written."""


class OutputExistsError(OutputError, FileExistsError):
    """An output file is there already and overwriting was not asked for."""


class CacheError(OutputError):
    """The cache is not used, as other users may change what is in it."""


class JobError(SleapInferError):
    """A batch job cannot go on."""


class JournalError(JobError):
    """A journal is damaged, or is something else."""


class JobDiffersError(JobError, FileExistsError):
    """A journal or an output lies there that belongs to other models, settings or frames."""


class JobBusyError(JobError):
    """Another process works on the same output."""


class TooManyFailuresError(JobError):
    """More frames failed than are allowed."""


class WorkerError(JobError):
    """A process that works on a job cannot be started, or ends again and again."""
