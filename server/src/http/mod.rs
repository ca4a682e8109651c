//! `/metrics`, `/healthz` and `/readyz`.
//!
//! | path | answers 200 | otherwise |
//! |---|---|---|
//! | `/healthz` | the process does its work; a full disk is named but is no reason to restart it | 503: the data directory is offline |
//! | `/readyz` | clients are served | 503: starting, stopping or offline |
//! | `/metrics` | Prometheus text | |
//!
//! Everything about a connection is bounded: what a request's head may take, how many requests and how long.

mod exposition;
mod io;

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    service::service_fn,
};

use self::io::HyperIo;
use crate::{
    env::{Env, within},
    listener::Context,
};

/// Serves one connection until its peer goes, its time is over or the node stops.
pub async fn connection<E: Env>(context: Context<E>, stream: E::Stream, peer: SocketAddr) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let context = context.clone();
        async move { Ok::<_, Infallible>(answer(&context, request.method(), request.uri().path()).await) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .half_close(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(HyperIo(stream), service);
    if let Some(Err(error)) = within(&context.env, CONNECTION_TIME_MAX, serving).await {
        tracing::debug!(%peer, %error, "http connection");
    }
}

async fn answer<E: Env>(context: &Context<E>, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => {
            let mut response = text(StatusCode::OK, exposition::write(context).await);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
            response
        }
        "/healthz" => health(context),
        "/readyz" => ready(context),
        _ => text(StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz\n".to_owned()),
    }
}

fn health<E: Env>(context: &Context<E>) -> Response<Full<Bytes>> {
    let disk = &context.node.metrics().disk;
    if let Some(reason) = disk.offline() {
        text(StatusCode::SERVICE_UNAVAILABLE, format!("the data directory is offline: {reason}\n"))
    } else if disk.is_full() {
        text(StatusCode::OK, "ok, but the disk is full: writes are refused\n".to_owned())
    } else {
        text(StatusCode::OK, "ok\n".to_owned())
    }
}

fn ready<E: Env>(context: &Context<E>) -> Response<Full<Bytes>> {
    let disk = &context.node.metrics().disk;
    if context.stop.is_requested() {
        text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned())
    } else if !context.node.is_ready() {
        text(StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned())
    } else if let Some(reason) = disk.offline() {
        text(StatusCode::SERVICE_UNAVAILABLE, format!("the data directory is offline: {reason}\n"))
    } else {
        text(StatusCode::OK, "ready\n".to_owned())
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// What the head of a request may take.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long one connection may last, busy or idle.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);
