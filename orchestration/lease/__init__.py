"""Several hosts, one login: a lease in an etcd cluster decides which host runs this instance (SPEC section 12).

`term` judges and is pure; `etcd` is the door to the store; `held` is what the rest of the program asks, and all that is
imported without LEASE_ETCD. `supervision.lease_keeper` renews, from a thread of its own.
"""
