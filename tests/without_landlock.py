"""`python -m tests.without_landlock PROGRAM ARGUMENTS`: runs a program as on a kernel without Landlock.

A seccomp filter answers `landlock_create_ruleset` as such a kernel does, for the program and all that it starts.
"""

import ctypes
import errno
import os
import struct
import sys

_LANDLOCK_CREATE_RULESET = 444  # on every architecture
_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL_WITH = 0x7FFF0000, 0x00050000

# (operation, jump if true, jump if false, operand) as in linux/filter.h; the system call's number is at offset 0.
_PROGRAM = b"".join(
    struct.pack("=HBBI", *step)
    for step in (
        (_LOAD_WORD, 0, 0, 0),
        (_JUMP_IF_EQUAL, 0, 1, _LANDLOCK_CREATE_RULESET),
        (_RETURN, 0, 0, _FAIL_WITH | errno.EOPNOTSUPP),
        (_RETURN, 0, 0, _ALLOW),
    )
)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def main() -> None:
    library = ctypes.CDLL(None, use_errno=True)
    program = _Filter(len(_PROGRAM) // 8, _PROGRAM)
    if library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or library.prctl(
        _SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "the filter was refused")
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - to become the program is what this one is for


if __name__ == "__main__":
    main()
