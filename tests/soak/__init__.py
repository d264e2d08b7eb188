"""Hours of everything at once, from a printed seed: `python -m tests.soak --minutes 30 --seed 1`.

    stories     random schedules of the real code on one repository that lives on, with every fault of the port
    processes   real processes on a local directory, each of which is killed again and again
    suites      the property and fault suites, from fresh seeds
    models      the larger scenarios of the model, and schedules with more interruptions than the tests have time for

What every point holds follows from its machine's name, so the shadow model needs no memory of its own. A fault that was
planned and never happened fails the run.
"""
