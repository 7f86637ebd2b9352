//! References, registries, the blob store and unpacked layers.
