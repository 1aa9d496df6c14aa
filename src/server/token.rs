//! The bearer token that opens the page.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

/// A token's hash; the token itself is not kept.
#[derive(Clone)]
pub struct Token(Arc<[u8; 32]>);

impl Token {
    pub fn new(token: SecretString) -> Token {
        Token(Arc::new(Sha256::digest(token.expose_secret()).into()))
    }

    /// Takes the same time for every wrong token: hashes have one length, and all their bytes are compared.
    fn opens_with(&self, token: &[u8]) -> bool {
        let offered: [u8; 32] = Sha256::digest(token).into();
        let differing = self.0.iter().zip(offered).fold(0, |differing, (own, other)| differing | (own ^ other));
        std::hint::black_box(differing) == 0
    }
}

/// Lets only those through who bring the token (RFC 6750 §2.1).
pub async fn admit(State(token): State<Token>, request: Request, next: Next) -> Response {
    if bearer(request.headers()).is_some_and(|offered| token.opens_with(offered)) {
        return next.run(request).await;
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, "page.token is asked for: Authorization: Bearer …\n").into_response()
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}
