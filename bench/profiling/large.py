"""Lists the large allocations in a file of memray's as JSON: ``python -P large.py FILE BYTES``.

It runs in the profilers' environment. Each entry is ``[count, bytes, frames]`` with the frames
``[function, file, line]``, innermost first; a thread without Python has none.
"""

import collections
import json
import sys

from memray import AllocatorType, FileReader

FREES = {AllocatorType.FREE, AllocatorType.MUNMAP, AllocatorType.PYMALLOC_FREE}

if __name__ == "__main__":
    least = int(sys.argv[2])
    found = collections.Counter()
    largest = collections.Counter()
    with FileReader(sys.argv[1]) as reader:
        for record in reader.get_allocation_records():
            if record.size < least or AllocatorType(record.allocator) in FREES:
                continue
            try:
                frames = tuple(record.stack_trace())
            except NotImplementedError:  # the allocation of a thread that runs no Python
                frames = ()
            found[frames] += record.n_allocations
            largest[frames] = max(largest[frames], record.size)
    json.dump([[count, largest[frames], frames] for frames, count in found.most_common()], sys.stdout)
