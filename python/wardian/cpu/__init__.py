"""The CPU a guest sees, and the engine that is it: models, host facts, the choice of engine."""
