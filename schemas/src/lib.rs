//! tidelog's Cap'n Proto schemas: the public contract of its native protocol and of its metadata records.
//!
//! The `.capnp` files are the source; `README.md` beside them has the framing and the rules of evolution. The Rust
//! here is generated when the crate is built, from requests that `generate.sh` made, and has no code of its own.

macro_rules! generated {
    ($(#[$doc:meta])* $module:ident, $file:literal) => {
        $(#[$doc])*
        // The crate-wide lints of the workspace are off for this crate: generated code is judged by its generator.
        #[allow(clippy::all, reason = "generated code is judged by its generator")]
        pub mod $module {
            include!(concat!(env!("OUT_DIR"), "/", $file));
        }
    };
}

generated!(
    /// `native.capnp`: the messages of the native protocol.
    native_capnp,
    "native_capnp.rs"
);
generated!(
    /// `peer.capnp`: what nodes say to each other in it.
    peer_capnp,
    "peer_capnp.rs"
);
generated!(
    /// `metadata.capnp`: the records of the metadata log.
    metadata_capnp,
    "metadata_capnp.rs"
);

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Command};

    /// The requests hold positions and comments, which differ between versions of the compiler; what counts is
    /// that both give the same Rust.
    #[test]
    fn generated_requests_are_those_of_the_schemas() {
        let version = Command::new("capnp").arg("--version").output();
        if version.is_err() {
            println!("capnp is not installed: the committed requests are taken as they are");
            return;
        }
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let fresh = Path::new(env!("OUT_DIR")).join("fresh");
        let status = Command::new(here.join("generate.sh")).arg(&fresh).status().expect("the script starts");
        assert!(status.success(), "generate.sh fails");
        for entry in fs::read_dir(&fresh).expect("the script made the folder") {
            let request = entry.expect("it can be listed").path();
            if request.extension().is_none_or(|extension| extension != "cgr") {
                continue;
            }
            capnpc::codegen::CodeGenerationCommand::new()
                .output_directory(&fresh)
                .run(fs::File::open(&request).expect("the script made it"))
                .expect("Rust can be generated");
            let module = format!("{}_capnp.rs", request.file_stem().expect("it has a name").to_string_lossy());
            let built = fs::read_to_string(Path::new(env!("OUT_DIR")).join(&module)).expect("listed in build.rs");
            let remade = fs::read_to_string(fresh.join(&module)).expect("just generated");
            assert!(built == remade, "{module} is not that of its schema: run schemas/generate.sh");
        }
    }
}
