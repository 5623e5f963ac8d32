"""Methods that read which neurons an output depends on, and what else is asked of their pathways."""

from xattr_methods.pathways.decoding import decoded
from xattr_methods.pathways.selection import Pathways, pathways

__all__ = ["Pathways", "decoded", "pathways"]
