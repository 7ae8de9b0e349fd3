//! HTTP as a client: the demo's triggers and the status of a running gateway.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Method, Request, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::exit::{Exit, Failure};
use crate::diagnostic::Code;

const ANSWER_BYTES_MAX: usize = 4 << 20;

/// A client of one server, with its kept connections.
#[derive(Clone)]
pub(crate) struct Http {
    base: String,
    timeout: Duration,
    token: Option<String>,
    client: Client<HttpConnector, Body>,
}

/// What the server answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body; `Null` if it is not JSON.
    pub(crate) json: serde_json::Value,
    /// The body as text.
    pub(crate) text: String,
    /// `Idempotency-Replayed: true`: the answer of an earlier try.
    pub(crate) replayed: bool,
}

impl Http {
    /// `base` is `http://host:port`.
    pub(crate) fn new(base: impl Into<String>, timeout: Duration) -> Http {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Http { base: base.into().trim_end_matches('/').to_owned(), timeout, token: None, client }
    }

    /// With a bearer token in every request.
    pub(crate) fn with_token(self, token: &str) -> Http {
        Http { token: Some(token.to_owned()), ..self }
    }

    /// GET `path`.
    ///
    /// # Errors
    /// No connection, or no answer in time: 69.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.send(Request::get(format!("{}{path}", self.base)).body(Body::empty())).await
    }

    /// POST `body` to `path`.
    ///
    /// # Errors
    /// No connection, or no answer in time: 69.
    pub(crate) async fn post(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<Answer, Failure> {
        let request = Request::post(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string()));
        self.send(request).await
    }

    /// POST a JSON text, under an Idempotency-Key if there is one.
    ///
    /// # Errors
    /// No connection, or no answer in time: 69.
    pub(crate) async fn post_keyed(
        &self,
        path: &str,
        body: &str,
        key: Option<&str>,
    ) -> Result<Answer, Failure> {
        let mut request = Request::post(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.send(request.body(Body::from(body.to_owned()))).await
    }

    /// Any method with lines of JSON as its body.
    ///
    /// # Errors
    /// No connection, or no answer in time: 69.
    pub(crate) async fn ndjson(
        &self,
        method: Method,
        path: &str,
        lines: String,
    ) -> Result<Answer, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/x-ndjson");
        self.send(request.body(Body::from(lines))).await
    }

    /// Any method with a text as its body.
    ///
    /// # Errors
    /// No connection, or no answer in time: 69.
    pub(crate) async fn text(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Answer, Failure> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        self.send(request.body(Body::from(body))).await
    }

    async fn send(
        &self,
        request: Result<Request<Body>, axum::http::Error>,
    ) -> Result<Answer, Failure> {
        let unreachable = |detail: String| {
            Failure::coded(Exit::Unreachable, Code::FB2005, format!("{}: {detail}", self.base))
        };
        let mut request = request.map_err(|error| unreachable(error.to_string()))?;
        if let Some(token) = &self.token {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let value = value.map_err(|error| unreachable(error.to_string()))?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let exchange = async {
            let response =
                self.client.request(request).await.map_err(|error| root_cause(&error))?;
            let status = response.status().as_u16();
            let replayed =
                response.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
            let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX)
                .await
                .map_err(|error| error.to_string())?;
            Ok::<_, String>((status, replayed, body))
        };
        let (status, replayed, body) = tokio::time::timeout(self.timeout, exchange)
            .await
            .map_err(|_| unreachable(format!("no answer in {} s", self.timeout.as_secs())))?
            .map_err(unreachable)?;
        let json = serde_json::from_slice(&body).unwrap_or(serde_json::Value::Null);
        Ok(Answer { status, json, text: String::from_utf8_lossy(&body).into_owned(), replayed })
    }
}

/// The deepest cause: `connection refused`, not `client error (Connect)`.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}
