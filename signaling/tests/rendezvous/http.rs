//! Questions over plain HTTP.

use crate::rig::{PATIENCE, Server};
use std::{collections::BTreeMap, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn body(&self) -> &str {
        str::from_utf8(&self.bytes).unwrap()
    }
}

pub async fn ask(server: &Server, method: &str, path: &str, more: &str) -> Answer {
    ask_at(server.address, method, path, more).await
}

pub async fn ask_at(server: SocketAddr, method: &str, path: &str, more: &str) -> Answer {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    hear(stream).await
}

/// Reads an answer to its end.
pub async fn hear(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let body = bytes.split_off(end.unwrap() + 4);
    let head = String::from_utf8(bytes).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    Answer {
        status: status.parse().unwrap(),
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect(),
        bytes: body,
    }
}
