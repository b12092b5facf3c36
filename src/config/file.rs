//! What was written in the configuration files, and what is wrong with it: all of it, at once.
