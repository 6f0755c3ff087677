"""Deploying to a host over SSH: `fab -H rackmount deploy`.

    fabfile → cli (show) → deploy, rollback, provision (workflow) → host (one method for each remote action)
                           release (pure: names, differences)       ↓ connection (programs run over SSH)
                           checkout (git, here)                     ↓ on_host/* (runs there, standard library only)

`connection` reaches a host as OpenSSH would: `ssh_config` asks `ssh -G` what the user's configuration says,
`known_hosts` and `host_keys` judge the key that answers, `link` connects by paramiko, logs in, and notices silence.

What must not depend on the connection runs on the host itself: `on_host.activation` tries, switches, starts, holds and,
if it is not good, goes back, as a unit of systemd's own. A connection that breaks leaves behind either the new release,
found good, or the old one, running; and so does a power cut (`on_host.boot_guard`).
"""
