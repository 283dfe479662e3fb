"""What can go wrong, as classes: catch `SmatError` for all of it.

Every message says what was given, what was expected, and what to do.
"""


class SmatError(Exception):
    """Base of every error that smat raises on purpose."""


class ConfigError(SmatError, ValueError):
    """A setting that cannot work, alone or with another."""


class InUseError(ConfigError):
    """A folder that another process works in."""


class DataError(SmatError, ValueError):
    """Images, labels, classes or splits that do not fit what was asked of them."""


class NothingImportedError(DataError):
    """A domain of which no image can be used."""


class BackboneError(SmatError, ValueError):
    """A pre-trained network that cannot be found, loaded or used as a feature extractor."""


class CheckpointError(SmatError, ValueError):
    """A saved file or folder that does not fit the code or the network it is loaded into."""


class NonFiniteError(SmatError, ArithmeticError):
    """A loss that is not a finite number; the message names the episode that gave it."""


class CollapseError(SmatError, ArithmeticError):
    """A training whose network gives all images the same features; the message says where the last good state is."""


class WorkerError(SmatError, RuntimeError):
    """A worker process that ended before its work did."""


class SomethingWrong(SmatError):
    """What a command was asked to look for is there; the command line ends with exit status 1.

    Attributes:
        result: all that it found, of the type that it returns.
    """

    def __init__(self, message: str, result: object = None) -> None:
        super().__init__(message)
        self.result = result


class Interrupted(KeyboardInterrupt):
    """A command that was stopped; nothing that it finished is lost.

    Attributes:
        result: what it had found until then, of the type that it returns; None where all is in files.
    """

    def __init__(self, message: str, result: object = None) -> None:
        super().__init__(message)
        self.result = result


def one_line(error: object) -> str:
    """What an error of another library says, in one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:297]}..."
