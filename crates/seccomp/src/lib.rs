//! OCI seccomp profiles compiled to classic BPF: bytes in, bytes out.
