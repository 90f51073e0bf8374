//! A server of ours, asked without a client of ours.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "only tests use this, and each test program a part of it"
)]

use std::sync::Arc;

use cairn_registry::server::ServerConfig;
use cairn_store::{Memory, RawManifest, Store};
use http::{Method, StatusCode};
use reqwest::Response;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Running, http_client, image, remote};

pub(crate) struct Registry {
    pub(crate) server: Running,
    pub(crate) client: reqwest::Client,
}

impl Registry {
    pub(crate) async fn start(config: ServerConfig) -> Self {
        Self::over(Arc::new(Memory::new()), config).await
    }

    pub(crate) async fn over(store: Arc<dyn Store>, config: ServerConfig) -> Self {
        Self {
            server: Running::start(store, config).await,
            client: http_client(),
        }
    }

    pub(crate) async fn new() -> Self {
        Self::start(ServerConfig::default()).await
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("http://{}{path}", self.server.address)
        };
        self.client.request(method, url)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub(crate) async fn status(&self, method: Method, path: &str) -> StatusCode {
        self.request(method, path).send().await.unwrap().status()
    }

    pub(crate) async fn put_manifest(
        &self,
        path: &str,
        manifest: &RawManifest,
        headers: &[(&str, &str)],
    ) -> Response {
        let mut request = self
            .request(Method::PUT, path)
            .header("content-type", manifest.media_type().as_str());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(manifest.bytes().clone()).send().await.unwrap()
    }

    pub(crate) async fn image(&self, label: &str) -> RawManifest {
        image(&remote(&self.server.host(), "a"), label).await
    }

    pub(crate) async fn begin(&self) -> String {
        let answer = self
            .request(Method::POST, "/v2/a/blobs/uploads/")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 202);
        header(&answer, "location")
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.server.address).await.unwrap()
    }

    /// Sends bytes as they are and reads to the end of the connection.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read(&mut stream).await
    }
}

pub(crate) async fn read(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

pub(crate) fn header(answer: &Response, name: &str) -> String {
    let value = answer.headers().get(name);
    value
        .unwrap_or_else(|| panic!("no {name} in {:?}", answer.headers()))
        .to_str()
        .unwrap()
        .to_owned()
}

pub(crate) async fn error(answer: Response) -> (u16, String, Value) {
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let error = &body["errors"][0];
    (
        status,
        error["code"].as_str().unwrap().to_owned(),
        error["detail"].clone(),
    )
}

pub(crate) async fn document(answer: Response) -> Value {
    assert_eq!(answer.status(), 200);
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}
