//! Generates Rust from the encoded code generator requests in `generated/`, so that no build needs the `capnp` tool.
//! `generate.sh` remakes the requests from the schemas.

use std::{env, fs::File, path::Path};

/// The schemas: `NAME.capnp` here becomes the module `NAME_capnp`.
const SCHEMAS: [&str; 3] = ["native", "peer", "metadata"];

fn main() {
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    for schema in SCHEMAS {
        let request = Path::new("generated").join(schema).with_extension("cgr");
        println!("cargo::rerun-if-changed={}", request.display());
        let file = File::open(&request).unwrap_or_else(|error| panic!("cannot open {}: {error}", request.display()));
        capnpc::codegen::CodeGenerationCommand::new()
            .output_directory(&out)
            .run(file)
            .unwrap_or_else(|error| panic!("cannot generate from {}: {error}", request.display()));
    }
}
