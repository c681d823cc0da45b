"""Tar archives: reading them from strangers, writing them for strangers, and nothing escaping on the way.

source.py       where an archive's bytes are: a file, or a stretch of one
reader.py       walks the members of a tar (ustar, GNU, pax) held in a file, by mmap
stream.py       the same of a tar that arrives through a pipe
acl.py          access control lists that other tar programs write as text
compression.py  what an archive is packed with, and how to unpack it while hashing
unpack.py       a tar into a directory, every path resolved beneath it by openat2
pack.py         a directory, or part of one, as a tar
recipe.py       how to build a layer's tar again, byte for byte, from the unpacked layer
worker.py       the same in a child process of its own, so that the daemon's threads are not held up
child_process.py  how such a process is started, and what passes between it and us
"""
