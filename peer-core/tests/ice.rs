//! ICE servers of the rendezvous: new ones are for new links, and for those that are open.

mod network;

use network::Network;
use shoal_protocol::rendezvous::IceServer;
use std::time::Duration;

fn servers(user: &str) -> Vec<IceServer> {
    vec![IceServer {
        urls: vec!["turn:turn.example".into()],
        username: Some(user.into()),
        credential: Some("password".into()),
    }]
}

#[test]
fn renewed_accounts_take_the_place_of_the_old() {
    let mut network = Network::new(61, 0);
    network.rendezvous.ice_servers = servers("first");
    let own = servers("own");
    let peers = [None, None, Some(own.clone())];
    for ice_servers in peers {
        network.add_peer(|config| config.ice_servers = ice_servers);
    }
    network.run_for(Duration::from_secs(10));
    assert_eq!(network.open_links().len(), 3);
    network.rendezvous.rename_ice_servers(servers("second"));
    // Any input carries on what waits at the rendezvous.
    network.run_for(Duration::from_secs(60));
    network.cut_links();
    network.run_for(Duration::from_secs(30));
    assert_eq!(network.open_links().len(), 3);

    for peer in &network.peers[..2] {
        assert_eq!(peer.ice_servers, [servers("first"), servers("second")]);
        let [before, after] = [0, peer.opened_with.len() - 1].map(|at| &peer.opened_with[at]);
        assert_eq!((before, after), (&servers("first"), &servers("second")));
    }
    let peer = &network.peers[2];
    assert!(peer.ice_servers.is_empty(), "its page has said which");
    assert!(peer.opened_with.iter().all(|with| *with == own));
}
