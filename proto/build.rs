//! Compiles the contracts with a pure-Rust protoc and keeps the descriptors for reflection.

use std::path::PathBuf;

const FILES: &[&str] = &[
    "metabuilder/common/v1/failure.proto",
    "metabuilder/common/v1/settings.proto",
    "metabuilder/common/v1/plan.proto",
    "metabuilder/common/v1/autofix.proto",
    "metabuilder/classifier/v1/classifier.proto",
    "metabuilder/flags/v1/flags.proto",
    "metabuilder/autofixer/v1/autofixer.proto",
    "metabuilder/runner/v1/work.proto",
    "metabuilder/orchestrator/v1/specs.proto",
    "metabuilder/orchestrator/v1/runs.proto",
    "metabuilder/orchestrator/v1/control.proto",
    "metabuilder/orchestrator/v1/tenants.proto",
    "metabuilder/orchestrator/v1/sessions.proto",
    "metabuilder/orchestrator/v1/webhook.proto",
    "metabuilder/orchestrator/v1/answers.proto",
    "metabuilder/orchestrator/v1/keys.proto",
    "metabuilder/orchestrator/v1/audit.proto",
    "flagd/evaluation/v1/evaluation.proto",
    "flagd/evaluation/v2/evaluation.proto",
    "flagd/sync/v1/sync.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(FILES)?;
    std::fs::write(out.join("metabuilder.binpb"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_fds(compiler.file_descriptor_set())?;
    println!("cargo:rerun-if-changed=metabuilder");
    println!("cargo:rerun-if-changed=flagd");
    Ok(())
}
