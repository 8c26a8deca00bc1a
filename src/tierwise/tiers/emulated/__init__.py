"""This machine as a topology: processes with a CPU share and a memory limit, and shaped links.

Only this package touches namespaces, control groups and traffic control.
"""

from tierwise.tiers.emulated.emulation import AgentCommand, Emulation, require_possible, start

__all__ = ["AgentCommand", "Emulation", "require_possible", "start"]
