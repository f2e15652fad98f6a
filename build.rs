// Linking only: relocations in their packed form (RELR), which takes megabytes off the executable. The C library must know
// it (glibc 2.36: Debian 12, Ubuntu 24.04); where it is older, or built for another machine, the plain form stays.
// (No `//!`: the edge agent's build script includes this file.)

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let set = |name: &str| std::env::var(name).unwrap_or_default();
    if set("HOST") == set("TARGET") && set("CARGO_CFG_TARGET_ENV") == "gnu" && glibc() >= Some((2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// As `getconf` says it: "glibc 2.36".
fn glibc() -> Option<(u32, u32)> {
    let said = std::process::Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .output()
        .ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
