"""Whether two queries that an embedding finds alike must not share an answer: `contradicts` (`rules`).

A query is read (`reading`, by the words of `lexicon`, `words` and `opposites`), and what was read is compared (`rules`,
`order`). No state: nothing of a query is kept.
"""

from memory_watchdog_kit.guard.rules import contradicts

__all__ = ["contradicts"]
