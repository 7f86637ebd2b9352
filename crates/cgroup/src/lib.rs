//! Where a container's cgroup is (v1, v2, hybrid, systemd) and what is written there.
