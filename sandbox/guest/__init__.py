"""What runs behind the wall: the agent (PID 1), the zygote that holds the input, and the kernels.

Nothing here imports `rlm`, and nothing in `rlm` imports this: the two sides share a wire version
(`guest.wire.VERSION`) and recorded frames.
"""
