"""Three hosts with one login: does a bot ever run on two of them? (SPEC L8)

Each host is a network namespace with an etcd member, a supervisor, a gateway and a bot of its own. They share one
machine, so one observer with one clock sees the processes of all of them.
"""
