//! edge-ger: parse, run, exit.

fn main() {}
