"""Citations: what an answer quotes is looked up in the input, so that no quotation is taken on trust."""

from rlm.citations.cite import Cited, Citer, cite
from rlm.citations.quotes import Quote, find_quotes

__all__ = ["Cited", "Citer", "Quote", "cite", "find_quotes"]
