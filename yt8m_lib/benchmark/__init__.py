"""Speed, as ratios to what this machine can do at most, measured in the same run.

A second on one machine says nothing of another, and little of the same one beside other work. So
each part is timed in turn with a limit: the same shards read raw, a matrix product, a copy in
memory, a sort. A ratio of 1 would be as fast as the machine.
"""
