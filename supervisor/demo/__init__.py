"""The newcomer's first minute: the real supervisor on this machine's devices, act by act, with a simulated kubelet.

play            the order of the acts, and the way out of them
acts            what happens, and what must be true for an act to have succeeded
simulated       the same for devices that a plugin simulates
gpus rdma       which these are, and what becomes of them
fpgas           an FPGA that a plugin simulates, and what is programmed in it
scene           what is on the stage in all acts, and the waits that they share
hardware        which devices of this machine take part, as a configuration file
gadget          a device that can be taken away and brought back
pod             the program that runs as a pod
programs        the supervisor and the pods as processes
stage           how all of it is told, on a terminal or in a log
interruptions   Ctrl-C, raised where nothing gets lost
place           a directory for the time of the demo
"""

from supervisor.demo.play import perform

__all__ = ["perform"]
