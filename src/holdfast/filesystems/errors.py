"""What is wrong with an image, in words for whoever owns it. Images are hostile input: anything may be in them."""


class BrokenError(Exception):
    """Bytes of an image contradict themselves, or point out of it."""


class UnsupportedError(Exception):
    """An image uses something that is not read here; the text names it."""


class MissingError(Exception):
    """There is no such path in the image."""
