//! What clients are told of the TURN servers that the shards are.

use std::time::Duration;

use schalter_model::ShardId;
use schalter_turn::{Secret, UserName};

use crate::config::IceServer;

/// The node's own TURN servers, one for each shard.
#[derive(Clone, Debug)]
pub struct TurnServers {
    /// The node that credentials name.
    pub node: u16,
    /// What credentials are derived from; the shards have the same.
    pub secret: Secret,
    /// How long credentials are good for a new relay. One that was made with them lasts as long as its client renews it.
    pub ttl: Duration,
    /// The URLs of each shard, in the order of the shards.
    pub urls: Vec<Vec<String>>,
}

impl TurnServers {
    /// The server of a shard with credentials of its own; `None` for a shard that has none. `random` tells two clients apart.
    pub fn of(&self, shard: ShardId, unix_secs: u64, random: u64) -> Option<IceServer> {
        let urls = self.urls.get(usize::from(shard.0))?;
        let user = UserName::new(unix_secs + self.ttl.as_secs(), self.node, shard, random);
        (!urls.is_empty()).then(|| IceServer {
            urls: urls.clone(),
            username: user.to_string(),
            credential: self.secret.password(&user).as_str().to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_name_their_shard_and_end() {
        let servers = TurnServers {
            node: 1,
            secret: Secret::new([1; Secret::LEN]),
            ttl: Duration::from_secs(600),
            urls: vec![vec![], vec!["turn:192.0.2.1:7883?transport=udp".into()]],
        };
        assert_eq!(servers.of(ShardId(0), 1_000, 7), None, "it has no URL");
        assert_eq!(
            servers.of(ShardId(2), 1_000, 7),
            None,
            "there is no such shard"
        );
        let server = servers.of(ShardId(1), 1_000, 7).unwrap();
        let user = UserName::parse(server.username.as_bytes()).unwrap();
        assert_eq!((user.expires(), user.shard()), (1_600, ShardId(1)));
        assert_eq!(
            server.credential,
            servers.secret.password(&user).as_str(),
            "the shard will say the same"
        );
    }
}
