"""The bus's world in virtual time: a broker, a database and processes, all faults from one seed.

Everything happens on one event loop whose clock jumps from timer to timer. What the bus sees
are the ports of `headrace.runtime.bus.ports`; what stands behind them is here, and one seed
gives one history, byte for byte, in every process.
"""
