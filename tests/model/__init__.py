"""A small model of the log of decisions, explored whole: every interleaving, one step per operation on the store.

    store       objects, entries and their fold
    rules       the rules of docs/concurrency.md as switches
    writer, collector, others   who works on the store, each a little machine whose `at` names its next step
    search      breadth-first, so that a trace is a shortest one; what must hold in every state that is reached
    scenarios   who meets whom, and what each rule is for

Whoever is delayed for ever is dead to everyone else, so crashes need no steps of their own: what must hold is looked at
in every state, with everybody dead. Ids are bits of a number: A, B and D are segments, T is a page whose child is A.
"""
