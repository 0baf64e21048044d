//! What clients are told of the TURN servers that the shards are.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
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
    /// Where they are.
    pub urls: TurnUrls,
}

/// The URLs of each shard, in the order of the shards. Clones share them: whoever joins after a change is told of the new ones.
#[derive(Clone, Debug)]
pub struct TurnUrls(Arc<ArcSwap<Vec<Vec<String>>>>);

impl TurnUrls {
    /// These, until they are replaced.
    pub fn new(urls: Vec<Vec<String>>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(urls)))
    }

    /// Others from now on. Returns whether they are others.
    pub fn replace(&self, urls: Vec<Vec<String>>) -> bool {
        let changes = **self.0.load() != urls;
        self.0.store(Arc::new(urls));
        changes
    }
}

impl TurnServers {
    /// The server of a shard with credentials of its own; `None` for a shard that has none. `random` tells two clients apart.
    pub fn of(&self, shard: ShardId, unix_secs: u64, random: u64) -> Option<IceServer> {
        let urls = self.urls.0.load();
        let urls = urls.get(usize::from(shard.0))?;
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
            urls: TurnUrls::new(vec![
                vec![],
                vec!["turn:192.0.2.1:443?transport=udp".into()],
            ]),
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

    #[test]
    fn who_comes_after_a_change_is_told_the_new_urls() {
        let urls = TurnUrls::new(vec![vec!["turns:old.example:443".into()]]);
        let servers = TurnServers {
            node: 1,
            secret: Secret::new([1; Secret::LEN]),
            ttl: Duration::from_secs(600),
            urls: urls.clone(),
        };
        let told = || servers.of(ShardId(0), 1_000, 7).unwrap().urls;
        assert_eq!(told(), ["turns:old.example:443"]);
        assert!(!urls.replace(vec![vec!["turns:old.example:443".into()]]));
        assert!(urls.replace(vec![vec!["turns:new.example:443".into()]]));
        assert_eq!(told(), ["turns:new.example:443"]);
    }
}
