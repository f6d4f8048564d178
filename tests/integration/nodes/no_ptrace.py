# SPDX-License-Identifier: Apache-2.0
"""no_ptrace.py PROGRAM [ARGUMENT...]: execute it where ptrace(2) is not permitted.

A seccomp filter that answers EPERM, as container engines have it.
"""
import ctypes
import errno
import os
import platform
import struct
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7fff0000, 0x00050000
PTRACE = {"x86_64": 101, "aarch64": 117}[platform.machine()]


class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


rules = b"".join(struct.pack("HBBI", *r) for r in (
    (LOAD_WORD, 0, 0, 0),
    (JUMP_IF_EQUAL, 0, 1, PTRACE),
    (RETURN, 0, 0, ERRNO | errno.EPERM),
    (RETURN, 0, 0, ALLOW)))
text = ctypes.create_string_buffer(rules)
program = Program(4, ctypes.addressof(text))
if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
                                           ctypes.byref(program), 0, 0) != 0:
    sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
