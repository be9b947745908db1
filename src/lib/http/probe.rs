//! Asks an admin address, as a container's health check does.

use std::{io, net::SocketAddr};

use axum::body::{Body, Bytes, to_bytes};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// More than any answer has.
const MAX_BODY: usize = 64 * 1024;

/// Gets a path and returns status and body. Waits without bound.
pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .body(Body::empty())
        .map_err(io::Error::other)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let status = response.status();
    let body = to_bytes(Body::new(response.into_body()), MAX_BODY)
        .await
        .map_err(io::Error::other)?;
    Ok((status, body))
}
