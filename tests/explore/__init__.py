"""Schedules of the real code: its writers, collectors and readers take turns at every call of the storage port.

    turns       one thread per actor, of which one runs at a time; a schedule is a list of choices, and can be replayed
    storage     the in-memory storage at which they take turns, and what can go wrong in a call
    alone       what makes an actor deterministic: one thread, its own randomness, its own clock
    stage       a beginning, the actors, and what must hold
    explorer    all schedules with few preemptions and faults, or random ones; the shortest that fails
    actors      back up, restore, forget, purge, collect: the product's own code

A schedule is a list of numbers: at each step, which of the things that can happen next did. 0 is always that who ran
last goes on and all is well, so a short list of exceptions from 0 describes a schedule.
"""
