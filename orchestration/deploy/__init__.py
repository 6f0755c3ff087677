"""Deploying to a host over SSH: `fab -H rackmount deploy`.

    fabfile → cli (show) → deploy, rollback, provision (workflow) → host (one method for each remote action)
                           release (pure: names, differences)       ↓ connection (Fabric: one door; host_keys)
                           checkout (git, here)                     ↓ on_host/* (runs there, standard library only)

What must not depend on the connection runs on the host itself: `on_host.activation` tries, switches, starts, holds and,
if it is not good, goes back, as a unit of systemd's own. Whoever pulls the cable leaves behind either the new release,
found good, or the old one, running; and so does whoever pulls the plug (`on_host.boot_guard`).
"""
