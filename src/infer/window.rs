//! Cuts the windows of the slot grid.
