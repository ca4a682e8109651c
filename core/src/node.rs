//! One node: composition and routing only.
