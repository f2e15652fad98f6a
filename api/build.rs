//! Cargo must build without Node, and must build again when the pages have been built: so the folder
//! exists, and cargo watches it.

fn main() {
    // A tree that can't be written to has its pages already, or goes without.
    let _ = std::fs::create_dir_all("web/dist");
    println!("cargo::rerun-if-changed=web/dist");
}
