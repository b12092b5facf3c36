//! The program that the other tests run is there, and is this build's: cargo builds it for this test.

use std::process::Command;

#[test]
fn the_program_prints_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_edge-ger")).arg("--version").output().expect("the program starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains(env!("CARGO_PKG_VERSION")), "{printed:?}");
}
