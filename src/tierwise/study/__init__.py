"""The study file, the plan, the run, and how a killed run goes on."""
