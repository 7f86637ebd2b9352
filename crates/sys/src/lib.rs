//! The few Linux system calls that rustix lacks, one file a family.
