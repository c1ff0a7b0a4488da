//! Lets the function table grow: an attack grows it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-cdylib=--growable-table");
}
