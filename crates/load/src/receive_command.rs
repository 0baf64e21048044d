//! `schalter-load receive`: joins, prints what is seen each second, leaves.

use std::io::Read as _;
use std::time::Duration;

use schalter_load::call::Generator;
use schalter_load::engine::ViewConfig;
use schalter_load::error::LoadError;
use schalter_load::livekit::{LiveKit, Watcher};
use schalter_load::viewer::View;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, interval_at};

use crate::cli::ReceiveArgs;
use crate::say;

#[derive(Serialize)]
struct Line {
    receiver: usize,
    seconds: f64,
    link_dropped: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    span: Option<View>,
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<View>,
}

/// Completes when standard input ends.
fn input_closed() -> oneshot::Receiver<()> {
    let (closed, wait) = oneshot::channel();
    // A thread that nobody waits for: reading can't be given up, and the process ends without it.
    std::thread::spawn(move || {
        let mut ignored = [0; 256];
        while std::io::stdin().read(&mut ignored).is_ok_and(|len| len > 0) {}
        let _ = closed.send(());
    });
    wait
}

async fn enough(seconds: Option<u64>) {
    match seconds {
        Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
        None => {
            let _ = input_closed().await;
        }
    }
}

pub(crate) async fn run(args: &ReceiveArgs) -> Result<(), LoadError> {
    let file = std::fs::read_to_string(&args.token_file)
        .map_err(|error| LoadError::io(args.token_file.display().to_string(), error))?;
    let tokens: Vec<&str> = file.split_ascii_whitespace().collect();
    if tokens.is_empty() || args.limit.len() > tokens.len() {
        return Err(LoadError::Usage(
            "a token for each receiver, and not more limits than tokens".to_owned(),
        ));
    }
    let terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
    let mut terminated = terminated.map_err(|error| LoadError::io("signals", error))?;
    let generator = Generator::start(args.options())?;
    let mut watchers = Vec::with_capacity(tokens.len());
    for (index, token) in tokens.into_iter().enumerate() {
        let view = ViewConfig {
            link: args.link(index),
        };
        watchers.push(LiveKit::watch(&args.url, token, &generator.shared, view).await?);
    }
    let start = Instant::now();
    let mut ticks = interval_at(start + Duration::from_secs(1), Duration::from_secs(1));
    let over = enough(args.seconds);
    tokio::pin!(over);
    loop {
        tokio::select! {
            _ = ticks.tick() => print(&generator, &watchers, start, false).await?,
            () = &mut over => break,
            _ = terminated.recv() => break,
        }
        if watchers.iter().any(Watcher::ended) {
            return Err(LoadError::Signaling(
                "the server ended a session".to_owned(),
            ));
        }
    }
    print(&generator, &watchers, start, true).await?;
    for watcher in watchers {
        watcher.leave(&generator.shared).await;
    }
    Ok(())
}

async fn print(
    generator: &Generator,
    watchers: &[Watcher],
    start: Instant,
    last: bool,
) -> Result<(), LoadError> {
    for (receiver, watcher) in watchers.iter().enumerate() {
        let Some(watched) = generator.shared.engine.look(watcher.peer()).await else {
            continue;
        };
        let line = Line {
            receiver,
            seconds: start.elapsed().as_secs_f64(),
            link_dropped: watched.link_dropped,
            span: (!last).then_some(watched.span),
            whole: last.then_some(watched.whole),
        };
        let text = serde_json::to_string(&line)
            .map_err(|error| LoadError::io("standard output", error.into()))?;
        say(&text)?;
    }
    Ok(())
}
