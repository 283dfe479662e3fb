"""Which collections must not be mirrored, by their names: a mirrored letter, digit or sign is another one."""

NEVER_MIRRORED = (
    "omniglot",
    "quickdraw",
    "mnist",  # and EMNIST, KMNIST, Fashion-MNIST
    "kuzushiji",
    "svhn",
    "usps",
    "chars74k",
    "gtsrb",
    "trafficsign",
    "chestx",  # the heart is on the left
)
"""Parts of names in lower-case letters and digits."""


def letters(name: str) -> str:
    """A name without capitals and separators, so that `Traffic_Sign` and `trafficsign` are the same."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def never_mirrored(name: str) -> bool:
    """Whether images of a collection of this name are not of their class any more once they are mirrored."""
    return any(part in letters(name) for part in NEVER_MIRRORED)
