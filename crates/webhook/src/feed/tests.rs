//! Order, repetition and restarts, in virtual time over a log in memory.

use std::collections::HashMap;
use std::sync::Mutex;

use rand::RngExt;

use super::*;
use crate::signature::Secret;

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    cursors: HashMap<String, u64>,
    /// Neither read nor written meanwhile.
    broken: bool,
    /// Cursors are not written meanwhile.
    read_only: bool,
}

/// A log in memory.
struct Memory {
    state: Mutex<State>,
    news: watch::Sender<()>,
}

impl Memory {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            news: watch::Sender::new(()),
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    fn add(&self, count: u64) {
        self.with(|state| {
            let last = state.entries.last().map_or(0, |entry| entry.seq);
            let fresh = (last + 1..=last + count).map(|seq| Entry {
                seq,
                id: format!("evt_{seq}"),
                body: format!("{{\"seq\":{seq}}}"),
            });
            state.entries.extend(fresh);
        });
        self.news.send_replace(());
    }

    fn answer<T: Send + 'static>(&self, read: impl FnOnce(&mut State) -> T) -> LogAnswer<'_, T> {
        let result = self.with(|state| {
            if state.broken {
                return Err(LogError("broken".to_owned()));
            }
            Ok(read(state))
        });
        Box::pin(async move { result })
    }

    fn cursor_of(&self, name: &str) -> Option<u64> {
        self.with(|state| state.cursors.get(name).copied())
    }
}

impl EventLog for Memory {
    fn last(&self) -> LogAnswer<'_, u64> {
        self.answer(|state| state.entries.last().map_or(0, |entry| entry.seq))
    }

    fn after(&self, seq: u64, limit: usize) -> LogAnswer<'_, Vec<Entry>> {
        self.answer(|state| {
            let later = state.entries.iter().filter(|entry| entry.seq > seq);
            later.take(limit).cloned().collect()
        })
    }

    fn cursor<'a>(&'a self, receiver: &'a str) -> LogAnswer<'a, Option<u64>> {
        self.answer(|state| state.cursors.get(receiver).copied())
    }

    fn set_cursor<'a>(&'a self, receiver: &'a str, seq: u64) -> LogAnswer<'a, ()> {
        if self.with(|state| state.read_only) {
            return Box::pin(async { Err(LogError("read only".to_owned())) });
        }
        self.answer(|state| {
            state.cursors.insert(receiver.to_owned(), seq);
        })
    }

    fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }
}

type Judge = Box<dyn FnMut(&str) -> Result<(), Failure> + Send>;

/// A receiver that notes the ids of what it was sent, and answers as it is told; `None` for one that never answers.
#[derive(Clone)]
struct Hook {
    got: Arc<Mutex<Vec<String>>>,
    judge: Arc<Mutex<Option<Judge>>>,
}

impl Hook {
    fn new(judge: impl FnMut(&str) -> Result<(), Failure> + Send + 'static) -> Self {
        Self {
            got: Arc::default(),
            judge: Arc::new(Mutex::new(Some(Box::new(judge)))),
        }
    }

    fn silent() -> Self {
        Self {
            got: Arc::default(),
            judge: Arc::default(),
        }
    }

    fn got(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }
}

impl Post for Hook {
    async fn post(&self, fields: HeaderMap, body: Bytes) -> Result<(), Failure> {
        let id = fields["webhook-id"].to_str().unwrap().to_owned();
        let seq = id.strip_prefix("evt_").unwrap();
        assert_eq!(body, format!("{{\"seq\":{seq}}}"));
        self.got.lock().unwrap().push(id.clone());
        let answer = {
            let mut judge = self.judge.lock().unwrap();
            judge.as_mut().map(|judge| judge(&id))
        };
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

fn secrets() -> Secrets {
    let secret = Secret::parse("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz").unwrap();
    Secrets::new(&[secret])
}

fn start(log: &Arc<Memory>, hooks: &[(&str, &Hook)]) -> Feed {
    let receivers = hooks.iter().map(|(name, hook)| {
        let log = Arc::clone(log) as Arc<dyn EventLog>;
        ((*name).to_owned(), (*hook).clone(), secrets(), log)
    });
    Feed::run(receivers.collect())
}

/// Lets virtual time pass until it is so; a day at most.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(86_400), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn failed() -> Result<(), Failure> {
    Err(RetryReason::Status.into())
}

/// Without repetitions, which stand next to each other.
fn once_each(got: &[String]) -> Vec<String> {
    let mut ids = got.to_vec();
    ids.dedup();
    ids
}

fn ids(seqs: impl IntoIterator<Item = u64>) -> Vec<String> {
    seqs.into_iter().map(|seq| format!("evt_{seq}")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_fails_half_of_the_time_gets_everything_in_order() {
    let log = Memory::new();
    let mut rng = StdRng::from_seed([3; 32]);
    let hook = Hook::new(move |_| if rng.random() { Ok(()) } else { failed() });
    let feed = start(&log, &[("a", &hook)]);
    until("begun", || log.cursor_of("a") == Some(0)).await;
    // More than a page, some of it while the first is under way.
    log.add(PAGE as u64 + 50);
    until("the first", || log.cursor_of("a") >= Some(10)).await;
    log.add(100);
    let all = PAGE as u64 + 150;
    until("everything", || log.cursor_of("a") == Some(all)).await;
    let got = hook.got();
    assert_eq!(once_each(&got), ids(1..=all));
    assert!(got.len() > 400, "half of them failed: {}", got.len());
    let stats = feed.stats();
    assert_eq!(stats.delivered, all);
    let failures: u64 = stats.failures.iter().sum();
    assert_eq!(failures, got.len() as u64 - all);
    assert_eq!(stats.failures[RetryReason::Status as usize], failures);
    assert_eq!((stats.backlogs, stats.lost), (vec![0], 0));
}

#[tokio::test(start_paused = true)]
async fn a_new_receiver_hears_of_what_comes_and_of_what_came_while_it_was_told_nothing() {
    let log = Memory::new();
    log.add(7);
    let hook = Hook::new(|_| Ok(()));
    let feed = start(&log, &[("a", &hook)]);
    until("begun", || log.cursor_of("a") == Some(7)).await;
    feed.shutdown().await;
    log.add(2);
    let _feed = start(&log, &[("a", &hook)]);
    log.add(1);
    until("told", || log.cursor_of("a") == Some(10)).await;
    assert_eq!(hook.got(), ids(8..=10));
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_before_it_was_noted_comes_again_with_the_same_id() {
    let log = Memory::new();
    let hook = Hook::new(|_| Ok(()));
    let feed = start(&log, &[("a", &hook)]);
    until("begun", || log.cursor_of("a") == Some(0)).await;
    // Answers come, cursors don't get to the disk: what a kill in between leaves behind.
    log.with(|state| state.read_only = true);
    log.add(1);
    until("taken", || feed.stats().delivered == 1).await;
    assert!(feed.stats().log_failures > 0);
    drop(feed);
    log.with(|state| state.read_only = false);
    log.add(1);
    let feed = start(&log, &[("a", &hook)]);
    until("both", || log.cursor_of("a") == Some(2)).await;
    assert_eq!(hook.got(), ids([1, 1, 2]));
    feed.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_could_not_be_noted_is_noted_later_without_another_event() {
    let log = Memory::new();
    let hook = Hook::new(|_| Ok(()));
    let feed = start(&log, &[("a", &hook)]);
    until("begun", || log.cursor_of("a") == Some(0)).await;
    log.with(|state| state.read_only = true);
    log.add(3);
    until("taken", || feed.stats().delivered == 3).await;
    assert_eq!(log.cursor_of("a"), Some(0));
    log.with(|state| state.read_only = false);
    until("noted", || log.cursor_of("a") == Some(3)).await;
    assert_eq!(hook.got(), ids(1..=3));
}

#[tokio::test(start_paused = true)]
async fn one_that_never_answers_holds_up_no_other_and_ends_in_time() {
    let log = Memory::new();
    let (slow, fast) = (Hook::silent(), Hook::new(|_| Ok(())));
    let feed = start(&log, &[("slow", &slow), ("fast", &fast)]);
    until("begun", || {
        log.cursor_of("fast") == Some(0) && log.cursor_of("slow") == Some(0)
    })
    .await;
    log.add(50);
    until("all of them", || log.cursor_of("fast") == Some(50)).await;
    assert_eq!(slow.got(), ids([1]));
    assert_eq!(feed.stats().backlogs, [50, 0]);
    let before = Instant::now();
    feed.shutdown().await;
    let took = before.elapsed();
    assert!(
        took <= LAST_REQUESTS + Duration::from_millis(100),
        "{took:?}"
    );
    assert_eq!(log.cursor_of("slow"), Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_weekend_costs_nothing_and_an_event_that_is_refused_holds_up_those_behind_it() {
    let log = Memory::new();
    let begin = Instant::now();
    let weekend = Duration::from_secs(60 * 3_600);
    let hook = Hook::new(move |id| match id {
        "evt_2" if begin.elapsed() < weekend => Err(Failure::Refused),
        _ => Ok(()),
    });
    let feed = start(&log, &[("a", &hook)]);
    until("begun", || log.cursor_of("a") == Some(0)).await;
    log.add(3);
    tokio::time::sleep(weekend / 2).await;
    log.add(2);
    tokio::time::sleep(weekend / 4).await;
    assert_eq!(feed.stats().backlogs, [4], "it is seen while it waits");
    tokio::time::sleep(weekend / 2).await;
    assert_eq!(log.cursor_of("a"), Some(5));
    assert_eq!(once_each(&hook.got()), ids(1..=5));
    // A try a minute at least, two at most.
    let tries = hook.got().len() as u64;
    assert!((3_600..7_300).contains(&tries), "{tries}");
}

#[tokio::test(start_paused = true)]
async fn who_wants_nothing_any_more_is_left_alone_until_the_next_start() {
    let log = Memory::new();
    let gone = Hook::new(|_| Err(Failure::Gone));
    let feed = start(&log, &[("a", &gone)]);
    until("begun", || log.cursor_of("a") == Some(0)).await;
    log.add(2);
    until("gone", || feed.stats().gone == 1).await;
    log.add(1);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(gone.got(), ids([1]));
    feed.shutdown().await;
    let back = Hook::new(|_| Ok(()));
    let feed = start(&log, &[("a", &back)]);
    until("told", || log.cursor_of("a") == Some(3)).await;
    assert_eq!(back.got(), ids(1..=3));
    assert_eq!(feed.stats().gone, 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_log_forgot_is_counted_and_passed_over() {
    let log = Memory::new();
    log.with(|state| state.cursors.insert("a".to_owned(), 0));
    log.add(10);
    log.with(|state| state.entries.retain(|entry| entry.seq > 4));
    let hook = Hook::new(|_| Ok(()));
    let feed = start(&log, &[("a", &hook)]);
    until("the rest", || log.cursor_of("a") == Some(10)).await;
    assert_eq!(hook.got(), ids(5..=10));
    assert_eq!(feed.stats().lost, 4);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_can_not_be_read_is_read_later() {
    let log = Memory::new();
    log.with(|state| state.broken = true);
    let hook = Hook::new(|_| Ok(()));
    let feed = start(&log, &[("a", &hook)]);
    until("failed", || feed.stats().log_failures > 1).await;
    log.with(|state| state.broken = false);
    until("begun", || log.cursor_of("a") == Some(0)).await;
    log.with(|state| state.broken = true);
    log.add(1);
    let before = feed.stats().log_failures;
    until("failed", || feed.stats().log_failures > before).await;
    log.with(|state| state.broken = false);
    until("told", || log.cursor_of("a") == Some(1)).await;
    assert_eq!(hook.got(), ids([1]));
}

#[tokio::test(start_paused = true)]
async fn what_a_receiver_never_takes_is_passed_over_by_order_and_nothing_else_is() {
    let log = Memory::new();
    // 3 and 4 are poison.
    let hook = Hook::new(|id| match id {
        "evt_3" | "evt_4" => failed(),
        _ => Ok(()),
    });
    let other = Hook::new(|_| Ok(()));
    let feed = start(&log, &[("a", &hook), ("b", &other)]);
    until("begun", || log.cursor_of("b") == Some(0)).await;
    assert_eq!(feed.skip(0, 1), Err(SkipError::NotStuck));
    log.add(6);
    until("stuck", || feed.standings()[0].stuck.is_some()).await;
    until("an hour", || feed.stats().stuck_s[0] >= 3_600).await;
    let standing = feed.standings()[0];
    assert_eq!((standing.cursor, standing.last), (2, 6));
    assert_eq!(standing.stuck.unwrap().0, 3);
    assert_eq!(feed.stats().stuck_s[1], 0);
    assert_eq!(feed.skip(0, 2), Err(SkipError::Taken(3)));
    assert_eq!(feed.skip(0, 7), Err(SkipError::Ahead(6)));
    assert_eq!(feed.skip(1, 6), Err(SkipError::NotStuck));
    assert_eq!(feed.skip(2, 3), Err(SkipError::NoReceiver));

    let before = Instant::now();
    feed.skip(0, 3).unwrap();
    until("the next", || feed.standings()[0].cursor == 3).await;
    assert!(before.elapsed() < Duration::from_secs(1), "at once");
    assert_eq!(log.cursor_of("a"), Some(3), "also after a restart");
    until("stuck again", || {
        feed.standings()[0]
            .stuck
            .is_some_and(|(event, _)| event == 4)
    })
    .await;
    assert!(feed.stats().stuck_s[0] < 60, "since then");
    // Through the last: what would be taken is given up as well, and what comes later is not.
    feed.skip(0, 5).unwrap();
    until("the rest", || log.cursor_of("a") == Some(6)).await;
    log.add(1);
    until("the newest", || log.cursor_of("a") == Some(7)).await;
    assert_eq!(once_each(&hook.got()), ids([1, 2, 3, 4, 6, 7]));
    let stats = feed.stats();
    assert_eq!((stats.skipped, stats.lost), (3, 0));
    assert_eq!(stats.stuck_s, [0, 0]);
    assert_eq!(other.got(), ids(1..=7));
}

#[tokio::test(start_paused = true)]
async fn an_event_under_way_that_is_taken_is_not_passed_over() {
    let log = Memory::new();
    let mut first = true;
    let hook = Hook::new(move |_| {
        if std::mem::take(&mut first) {
            failed()
        } else {
            Ok(())
        }
    });
    let feed = start(&log, &[("a", &hook)]);
    until("begun", || log.cursor_of("a") == Some(0)).await;
    log.add(1);
    until("taken", || log.cursor_of("a") == Some(1)).await;
    // Too late: it is no longer held up.
    assert_eq!(feed.skip(0, 1), Err(SkipError::NotStuck));
    assert_eq!((feed.stats().skipped, feed.stats().delivered), (0, 1));
}
