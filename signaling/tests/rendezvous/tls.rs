//! The same over TLS. The certificate beside this file is for this test alone.

use crate::process::start;
use crate::rig::PATIENCE;
use futures_util::StreamExt;
use shoal_protocol::rendezvous::{PATH, ServerMessage};
use std::{path::Path, sync::Arc};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

#[tokio::test]
async fn with_a_certificate_all_is_encrypted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rendezvous/tls");
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let mut arguments = vec!["--listen", "127.0.0.1:0"];
    arguments.extend(["--tls-cert", certificate.to_str().unwrap()]);
    arguments.extend(["--tls-key", key.to_str().unwrap()]);
    let running = start(&arguments).await;
    let address = running.line.strip_prefix("listening on https://").unwrap();
    let address = address.trim_end();

    // Who speaks plain HTTP to it, or nothing, does not hold up others.
    let _silent = TcpStream::connect(address).await.unwrap();

    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(certificate).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    let url = format!("wss://{address}{PATH}");
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    let first = timeout(PATIENCE, socket.next()).await.unwrap().unwrap();
    let challenge = ServerMessage::parse(first.unwrap().to_text().unwrap());
    assert!(matches!(challenge, Ok(ServerMessage::Challenge { .. })));
    let (status, _) = running.terminate().await;
    assert!(status.success());
}
