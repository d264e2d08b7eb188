"""Collecting: what no point reaches is condemned by an entry of the log, and only then deleted.

    survey    the log, then the index, then the names of packs; mark what points reach
    plan      what dies, and what is worth rewriting so that the rest of it can die
    rewrite   copy what is reached of those: packs durable, then index objects
    condemn   put the packs that go as the next entry; number taken: take in what was decided, judge again
    sweep     replacements of index objects durable, then the old ones go, then the packs

A kill between any two steps leaves garbage, which the next collection finds. No lock is held and no clock is asked: a
writer notices at its commit that something it relies on was condemned, and stores it again.

Inside: at_once, plan, bulk, listing < locked < marking, rewriting, disk_order < survey < verdict < run.
"""

from holdfast.repository.collect.plan import CollectionPlan, PackUse
from holdfast.repository.collect.run import CollectionReport, Collector

__all__ = ["CollectionPlan", "CollectionReport", "Collector", "PackUse"]
