//! Which names we answer to while only this machine may ask.
//!
//! A browser here may be led to ask us in a foreign page's name, whose owner lets the name point to 127.0.0.1 (DNS
//! rebinding): the name it asks for is then not ours.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Lets those through who ask by an address or as localhost, or name no host at all.
pub async fn admit(request: Request, next: Next) -> Response {
    let header = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    if header.or(request.uri().host()).is_none_or(is_ours) {
        return next.run(request).await;
    }
    let why = "asked by a foreign name: ask 127.0.0.1 or localhost, or listen beyond loopback (page: with a token)\n";
    (StatusCode::MISDIRECTED_REQUEST, why).into_response()
}

fn is_ours(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let name = name.trim_matches(['[', ']']).trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}
