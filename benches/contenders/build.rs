//! Generates the gRPC service, without a compiler for .proto files: the messages are structs of ours.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let get = Method::builder()
        .name("get")
        .route_name("Get")
        .input_type("crate::work::Get")
        .output_type("crate::work::User")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let users = Service::builder()
        .name("Users")
        .package("contenders")
        .method(get)
        .build();
    Builder::new().compile(&[users]);
    println!("cargo::rerun-if-changed=build.rs");
}
