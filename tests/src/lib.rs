//! What the black-box suites share.
