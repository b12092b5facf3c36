//! Which access units the wanted frames need.
