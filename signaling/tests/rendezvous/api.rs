//! The HTTP API: every answer is what its description says, and says nothing it should not.

use crate::{
    http::{Answer, ask, hear},
    rig::{Client, Key, Server, entry},
};
use serde_json::{Value, json};
use shoal_protocol::{namespace::Namespace, rendezvous::PeerMessage};
use std::collections::BTreeSet;
use tokio::net::TcpStream;

/// The description, closed: a field that it does not name is none of an answer.
struct Description(Value);

impl Description {
    async fn of(server: &Server) -> Self {
        let answer = ask(server, "GET", "/v1/openapi.json", "").await;
        assert_eq!(answer.status, 200);
        let mut said: Value = serde_json::from_slice(&answer.bytes).unwrap();
        let schemas = said["components"]["schemas"].as_object_mut().unwrap();
        for schema in schemas
            .values_mut()
            .filter(|schema| schema["type"] == "object")
        {
            schema["additionalProperties"] = json!(false);
        }
        Self(said)
    }

    /// Checks an answer; notes which it is.
    fn check(&self, path: &str, answer: &Answer, seen: &mut BTreeSet<(String, String)>) {
        let status = answer.status.to_string();
        let responses = &self.0["paths"][path]["get"]["responses"];
        let mut response = &responses[&status];
        assert!(response.is_object(), "{path} must not answer {status}");
        if let Some(reference) = response["$ref"].as_str() {
            response = self
                .0
                .pointer(reference.strip_prefix('#').unwrap())
                .unwrap();
        }
        let content = response["content"].as_object().unwrap();
        let kind = answer.headers["content-type"].split(';').next().unwrap();
        let schema = &content[kind]["schema"];
        let body: Value = match kind {
            "application/json" => serde_json::from_slice(&answer.bytes).unwrap(),
            _ => answer.body().into(),
        };
        let whole = json!({ "allOf": [schema], "components": self.0["components"] });
        let validator = jsonschema::draft202012::new(&whole).unwrap();
        if let Err(error) = validator.validate(&body) {
            panic!("{path} {status}: {error}: {body}");
        }
        if let Some(headers) = response["headers"].as_object() {
            for (name, header) in headers {
                let header = self
                    .0
                    .pointer(&header["$ref"].as_str().unwrap()[1..])
                    .unwrap();
                let Some(value) = answer.headers.get(&name.to_lowercase()) else {
                    assert_eq!(path, "/readyz", "{name} is missing");
                    continue;
                };
                let value: Value = value.parse::<u64>().unwrap().into();
                let validator = jsonschema::draft202012::new(&header["schema"]).unwrap();
                assert!(validator.is_valid(&value), "{name}: {value}");
            }
        }
        if kind == "application/json" {
            assert_eq!(answer.headers["access-control-allow-origin"], "*");
            assert_eq!(answer.headers["cache-control"], "no-store");
        }
        seen.insert((path.to_owned(), status));
    }

    /// All paths and the status of their answers, of which there are no others than these tests
    /// have seen.
    fn all(&self) -> BTreeSet<(String, String)> {
        let paths = self.0["paths"].as_object().unwrap();
        let answers = |(path, said): (&String, &Value)| {
            let responses = said["get"]["responses"].as_object().unwrap();
            let of_path = responses
                .keys()
                .map(|status| (path.clone(), status.clone()));
            of_path.collect::<Vec<_>>()
        };
        paths.iter().flat_map(answers).collect()
    }

    /// The paths that answer with one of these.
    fn of_status(&self, wanted: &[&str]) -> BTreeSet<(String, String)> {
        let seen = ["200", "400", "404", "429", "503"];
        let mut all = self.all();
        assert!(all.iter().all(|(_, status)| seen.contains(&&status[..])));
        all.retain(|(_, status)| wanted.contains(&&status[..]));
        all
    }
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.bytes).unwrap()
}

#[tokio::test]
async fn every_answer_is_as_described() {
    let server = Server::start().await;
    let (mut holder, _) = Client::join(&server, 1).await;
    let (head, pages) = holder.key.catalog(1, 1, 1..3);
    holder.send_catalog(&head, pages).await;
    holder.flush().await;
    let (_other, _) = Client::join(&server, 2).await;
    let description = Description::of(&server).await;
    let key = entry(1).key;
    let mut seen = BTreeSet::new();
    let asked = [
        ("/v1/server", "/v1/server".to_owned(), 200),
        ("/v1/openapi.json", "/v1/openapi.json".to_owned(), 200),
        ("/healthz", "/healthz".to_owned(), 200),
        ("/readyz", "/readyz".to_owned(), 200),
        ("/v1/peers", "/v1/peers".to_owned(), 200),
        ("/v1/peers", "/v1/peers?limit=1&unknown=1".to_owned(), 200),
        (
            "/v1/peers",
            "/v1/peers?namespace=nobody-is-here".to_owned(),
            200,
        ),
        ("/v1/peers", "/v1/peers?after=me".to_owned(), 400),
        ("/v1/peers", "/v1/peers?limit=-1".to_owned(), 400),
        ("/v1/peers", "/v1/peers?namespace=No%20such".to_owned(), 400),
        ("/v1/providers/{key}", format!("/v1/providers/{key}"), 200),
        (
            "/v1/providers/{key}",
            format!("/v1/providers/{}", entry(9).key),
            200,
        ),
        ("/v1/providers/{key}", "/v1/providers/none".to_owned(), 400),
        (
            "/v1/providers/{key}",
            format!("/v1/providers/{key}?namespace="),
            400,
        ),
    ];
    for (path, asked, status) in &asked {
        let answer = ask(
            &server,
            "GET",
            asked,
            "Origin: https://elsewhere.example\r\n",
        )
        .await;
        assert_eq!(answer.status, *status, "{asked}");
        description.check(path, &answer, &mut seen);
    }
    assert_eq!(seen, description.of_status(&["200", "400"]));

    let problem = ask(&server, "GET", "/v1/peers?after=me", "").await;
    assert!(problem.body().contains("after"), "{}", problem.body());
    let problem = ask(&server, "POST", "/v1/peers", "").await;
    assert_eq!(problem.status, 405);
}

/// The paths of the description, as they are asked for.
fn asked(path: &str) -> String {
    path.replace("{key}", &entry(1).key.to_string())
}

#[tokio::test]
async fn who_asks_too_often_is_told_as_described() {
    let description = Description::of(&Server::start().await).await;
    let server = Server::with(|config| {
        config.limits.address_requests_burst = 1;
        config.limits.address_requests_per_second = 0.001;
    })
    .await;
    ask(&server, "GET", "/v1/server", "").await;
    let mut seen = BTreeSet::new();
    for (path, _) in description.all() {
        let answer = ask(&server, "GET", &asked(&path), "").await;
        // What watches the server is never kept out.
        match path.starts_with("/v1/") {
            true => assert_eq!(body(&answer)["code"], "limit"),
            false => assert_eq!(answer.status, 200),
        }
        description.check(&path, &answer, &mut seen);
    }
    seen.retain(|(_, status)| status == "429");
    assert_eq!(seen, description.of_status(&["429"]));
}

#[tokio::test]
async fn a_server_without_room_says_so_as_described() {
    let server = Server::with(|config| config.limits.http_connections_per_address = 1).await;
    let description = Description::of(&server).await;
    server.settles(|gauges| gauges.http_connections == 0).await;
    let _holds_it = TcpStream::connect(server.address).await.unwrap();
    server.settles(|gauges| gauges.http_connections == 1).await;
    let mut seen = BTreeSet::new();
    for (path, _) in description.all() {
        // Before anything is asked.
        let answer = hear(TcpStream::connect(server.address).await.unwrap()).await;
        description.check(&path, &answer, &mut seen);
    }
    assert_eq!(seen, description.of_status(&["503"]));

    let full = Server::with(|config| config.limits.connections = 1).await;
    let (_one, _) = Client::join(&full, 1).await;
    let answer = ask(&full, "GET", "/readyz", "").await;
    description.check("/readyz", &answer, &mut seen);
    assert_eq!(
        (answer.status, answer.body()),
        (503, "not ready: connections\n")
    );
}

#[tokio::test]
async fn peers_and_providers_are_listed_without_addresses() {
    let server = Server::start().await;
    let (mut holder, _) = Client::join(&server, 1).await;
    let (head, pages) = holder.key.catalog(1, 1, 1..3);
    holder.send_catalog(&head, pages).await;
    holder.flush().await;
    let mut others = Vec::new();
    for n in 2..8 {
        others.push(Client::join(&server, n).await.0);
    }
    let mut listed = Vec::new();
    let mut path = "/v1/peers?limit=3".to_owned();
    loop {
        let answer = ask(&server, "GET", &path, "").await;
        assert!(!answer.body().contains("127.0.0.1"));
        let page = body(&answer);
        assert_eq!(page["namespace"], "public");
        listed.extend(page["peers"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/v1/peers?limit=3&after={next}");
    }
    let peers: BTreeSet<&str> = listed
        .iter()
        .map(|peer| peer["peer"].as_str().unwrap())
        .collect();
    let wanted: Vec<String> = (1..8).map(|n| Key::new(n).id().to_string()).collect();
    assert_eq!(peers, wanted.iter().map(String::as_str).collect());
    assert_eq!(listed.len(), 7);
    let catalogs: Vec<&Value> = listed
        .iter()
        .filter_map(|peer| peer.get("catalog"))
        .collect();
    assert_eq!(catalogs, [&json!({ "epoch": 1, "number": 1 })]);

    let answer = ask(
        &server,
        "GET",
        &format!("/v1/providers/{}", entry(2).key),
        "",
    )
    .await;
    assert_eq!(body(&answer)["peers"], json!([holder.id().to_string()]));
    let elsewhere = format!("/v1/providers/{}?namespace=elsewhere", entry(2).key);
    let answer = ask(&server, "GET", &elsewhere, "").await;
    assert_eq!(body(&answer)["peers"], json!([]));
    let answer = ask(&server, "GET", "/v1/server", "").await;
    assert_eq!(body(&answer)["peers"], 7);
}

#[tokio::test]
async fn a_private_namespace_has_no_list() {
    let server = Server::start().await;
    let description = Description::of(&server).await;
    let name = Namespace::of_key(&[7; 32]);
    let mut seen = BTreeSet::new();
    for (path, asked) in [
        ("/v1/peers", "/v1/peers".to_owned()),
        (
            "/v1/providers/{key}",
            format!("/v1/providers/{}", entry(1).key),
        ),
    ] {
        let answer = ask(&server, "GET", &format!("{asked}?namespace={name}"), "").await;
        assert_eq!(body(&answer)["code"], "unlisted");
        description.check(path, &answer, &mut seen);
    }
    assert_eq!(seen, description.of_status(&["404"]));
}

#[tokio::test]
async fn a_peer_asks_for_pages() {
    let server = Server::start().await;
    let mut others = Vec::new();
    for n in 2..8 {
        others.push(Client::join(&server, n).await.0);
    }
    let (mut asker, _) = Client::join(&server, 1).await;
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        asker
            .send(PeerMessage::List {
                after,
                limit: Some(4),
            })
            .await;
        let (peers, next) = asker.listing().await;
        listed.extend(peers.into_iter().map(|shown| shown.peer));
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let mut wanted: Vec<_> = (2..8).map(|n| Key::new(n).id()).collect();
    wanted.sort();
    assert_eq!(listed, wanted);
}
