"""The client of Docker's API that the `orlop` command is made of.

Written for start-up speed: one module of HTTP over a plain socket, nothing imported that a short command does not
need. `api.Api` is the door: JSON calls, streams in both directions, and connections taken over for attach and exec.
"""
