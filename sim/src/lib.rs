//! The simulator: virtual clock, network and disks around the real core.
