//! Every bound of the domain, with its reason.

/// People in one appointment: a panel with interpreters fits; a lecture does not belong here.
pub const MAX_PEOPLE: usize = 16;
/// Characters of a subject: what fits in a heading that citizens read.
pub const MAX_SUBJECT: usize = 200;
/// Characters of a name: longer than any in a passport.
pub const MAX_NAME: usize = 100;
/// Characters of an external reference: a case number or a UUID with a prefix.
pub const MAX_EXTERNAL_REF: usize = 128;
/// Characters of a message to somebody who waits: two sentences.
pub const MAX_MESSAGE: usize = 500;
/// Characters of a language's tag: what RFC 5646 (4.4.1) says is enough.
pub const MAX_LANGUAGE: usize = 35;
/// Characters of an outcome's code.
pub const MAX_OUTCOME: usize = 32;
/// Outcomes that an authority may define.
pub const MAX_OUTCOMES: usize = 20;
/// Seconds of the longest appointment: a day's hearing.
pub const MAX_DURATION_S: u64 = 12 * 3_600;
/// Seconds of the shortest appointment: less is a mistyped end.
pub const MIN_DURATION_S: u64 = 60;
/// Seconds into the future that an appointment may start: two years, beyond which it is a mistyped year.
pub const MAX_AHEAD_S: u64 = 2 * 366 * 86_400;
/// Seconds that a colleague's link is good for: it is meant for somebody who is on the telephone.
pub const COLLEAGUE_LINK_S: u64 = 15 * 60;
/// Sessions of one person, one after the other: each is a browser that showed the link. More is no lost telephone.
pub const MAX_SESSIONS: u32 = 20;
/// Longest time, in seconds, that an authority's doors may open before the start or close after the end.
pub const MAX_MARGIN_S: u64 = 24 * 3_600;
