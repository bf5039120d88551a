//! Clients behind proxies, and others that say they are.

use crate::http::ask_at;
use crate::rig::{Client, Server, open_over};
use crate::{Bystanders, withstand};
use shoal_protocol::rendezvous::ErrorCode;
use shoal_signaling::address::{ForwardedHeader, Proxies};
use std::net::Ipv4Addr;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Error;

/// All of 127/8 is this machine (RFC 1122, section 3.2.1.3).
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 9, 1);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 8, 1);
/// Connections of one address.
const MOST: usize = 3;

async fn connect_from(source: Ipv4Addr, server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    socket.connect(server.address).await.unwrap()
}

/// Connects as somebody who says to be these clients, until one is turned away; returns those that
/// got in.
async fn connect_all(
    server: &Server,
    source: Ipv4Addr,
    headers: impl Fn(usize) -> Vec<(&'static str, String)>,
) -> Vec<Client> {
    let mut inside = Vec::new();
    for n in 0..2 * MOST {
        let headers = headers(n);
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, &value[..]))
            .collect();
        let socket = open_over(connect_from(source, server).await, &headers).await;
        match Client::greeted(socket.unwrap(), n as u8 + 1).await {
            Ok(client) => inside.push(client),
            Err((code, wait)) => {
                assert_eq!((code, wait.is_some()), (ErrorCode::Limit, true));
                break;
            }
        }
    }
    inside
}

#[tokio::test]
async fn only_trusted_proxies_say_who_a_client_is() {
    for (kind, header, others) in [
        (
            ForwardedHeader::XForwardedFor,
            "x-forwarded-for",
            "forwarded",
        ),
        (ForwardedHeader::Forwarded, "forwarded", "x-forwarded-for"),
    ] {
        let value = |name: &str, n: usize| match name {
            "forwarded" => format!("for=203.0.113.{n};proto=https"),
            _ => format!("203.0.113.{n}"),
        };
        let change = |config: &mut shoal_signaling::Config| {
            config.limits.connections_per_address = MOST;
            config.proxies = Proxies {
                trusted: vec!["127.0.9.0/24".parse().unwrap()],
                header: kind,
            };
        };
        withstand(
            change,
            async |server: &Server, bystanders: &mut Bystanders| {
                // A proxy's word is taken: each client is another, whatever it wrote itself.
                let forged = |n: usize| {
                    let claimed = format!("{}, {}", value(header, 200), value(header, n));
                    vec![(header, claimed)]
                };
                let through = connect_all(server, PROXY, forged).await;
                assert_eq!(through.len(), 2 * MOST);
                // The two bystanders come from an address of their own.
                assert_eq!(server.state.gauges().addresses, 2 * MOST + 1);
                drop(through);

                // One client is one, over however many connections of the proxy.
                let same = |_| vec![(header, value(header, 100))];
                assert_eq!(connect_all(server, PROXY, same).await.len(), MOST);
                // So is one that the proxy names in the other header, or not at all.
                let other = |n: usize| vec![(others, value(others, n))];
                assert_eq!(connect_all(server, PROXY, other).await.len(), MOST);
                assert_eq!(connect_all(server, PROXY, |_| Vec::new()).await.len(), MOST);

                // What a stranger says of itself helps it to nothing.
                let claimed = |n: usize| vec![(header, value(header, n))];
                let inside = connect_all(server, STRANGER, claimed).await;
                assert_eq!(inside.len(), MOST);
                bystanders.notice_nothing().await;
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_proxy_has_no_share_of_its_own_and_its_clients_have() {
    let change = |config: &mut shoal_signaling::Config| {
        config.limits.address_requests_burst = 5;
        config.limits.http_connections_per_address = 2;
        config.proxies.trusted = vec!["127.0.0.1/32".parse().unwrap()];
    };
    withstand(
        change,
        async |server: &Server, bystanders: &mut Bystanders| {
            // More connections than one address may have, since they are many clients'.
            let mut idle = Vec::new();
            for _ in 0..6 {
                idle.push(TcpStream::connect(server.address).await.unwrap());
            }
            for client in 0..3 {
                let header = format!("X-Forwarded-For: 203.0.113.{client}\r\n");
                let mut answers = Vec::new();
                for _ in 0..8 {
                    let answer = ask_at(server.address, "GET", "/v1/server", &header).await;
                    answers.push(answer.status);
                }
                assert_eq!(answers, [200, 200, 200, 200, 200, 429, 429, 429]);
            }
            // A stranger's connections are its own.
            let mut strangers = Vec::new();
            for _ in 0..2 {
                strangers.push(connect_from(STRANGER, server).await);
            }
            server.settles(|gauges| gauges.http_connections == 8).await;
            let refused = open_over(connect_from(STRANGER, server).await, &[]).await;
            assert!(
                matches!(refused, Err(Error::Http(_) | Error::Io(_))),
                "{refused:?}"
            );
            bystanders.notice_nothing().await;
        },
    )
    .await;
}
