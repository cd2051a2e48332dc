"""Inputs: what the caller names becomes what the sandbox mounts, and a preview that the root model sees."""

from rlm.context.choice import Choice
from rlm.context.loaders import register_loader
from rlm.context.manifest import Item
from rlm.context.prepare import PreparedInput, prepare
from rlm.context.sources import Input, Named, Value

__all__ = ["Choice", "Input", "Item", "Named", "PreparedInput", "Value", "prepare", "register_loader"]
