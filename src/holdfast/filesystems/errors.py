"""What is wrong with an image, in words for whoever owns it. Images are hostile input: anything may be in them."""


class BrokenError(Exception):
    """Bytes of an image contradict themselves, or point out of it."""


class UnsupportedError(Exception):
    """An image uses something that is not read here; the text names it."""


class MissingError(Exception):
    """There is no such path in the image."""


class ForeignKindError(UnsupportedError):
    """An image is of a kind, or has a feature, that is not read here but by Linux, which calls the kind `kind`."""

    def __init__(self, message: str, kind: str, uuid: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.uuid = uuid
