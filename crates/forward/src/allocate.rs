//! Who gets how much of one subscriber's link: a budget spread over its video tracks.
//!
//! A pure function of rates. Every track offers *steps*, the layers it can be had in, each with the rate it takes.
//! First everybody gets the lowest step that the budget carries, in order of rank; then the ranks grow, one step a
//! turn within a rank, so that equals stay equal. Climbing takes head room that staying does not, and so a rate that
//! swings a little changes nothing. Refuses to know layers, clocks and queues.

use schalter_model::Bitrate;

use crate::caution::Climbs;

/// Most steps of one track: four encodings or spatial layers in full, and the lowest one's temporal layers below.
pub(crate) const MAX_STEPS: usize = 12;

/// What climbing to a step takes beyond its rate, in percent: less flaps where rates swing with the picture, more wastes
/// the link.
const HEAD_ROOM: u64 = 8;

/// What staying may take beyond the budget, in percent: the keyframe of a climb alone is a tenth of a second's rate.
const SLACK: u64 = 7;

/// Who is served first when there is not enough for all; lower is earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(pub u8);

impl Rank {
    /// A person who signs (EN 301 549 6.5): before all other video.
    pub const SIGNING: Self = Self(0);
    /// Where nobody said anything.
    pub const DEFAULT: Self = Self(128);
}

/// A track's steps, lowest first, as the rate that each takes in whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Steps {
    rates: [Bitrate; MAX_STEPS],
    len: u8,
}

impl Steps {
    /// Appends a step; a rate below the one before counts as that. Beyond [`MAX_STEPS`] nothing is appended.
    pub(crate) fn push(&mut self, rate: Bitrate) -> bool {
        let before = self.as_slice().last().copied().unwrap_or_default();
        let Some(slot) = self.rates.get_mut(usize::from(self.len)) else {
            return false;
        };
        *slot = rate.max(before);
        self.len += 1;
        true
    }

    pub(crate) fn as_slice(&self) -> &[Bitrate] {
        &self.rates[..usize::from(self.len)]
    }

    fn rate(&self, step: Option<u8>) -> u64 {
        step.and_then(|step| self.as_slice().get(usize::from(step)))
            .map_or(0, |rate| rate.as_bps())
    }
}

/// What one track asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    pub(crate) rank: Rank,
    pub(crate) steps: Steps,
    /// The step it has now; `None` if it is paused.
    pub(crate) current: Option<u8>,
    /// It keeps its lowest step whatever the budget says.
    pub(crate) never_paused: bool,
}

/// Spreads `budget`; `chosen` gets the step of each demand, `None` for a pause. Both have the same length. No more climbs
/// than `climbs` allows.
pub(crate) fn allocate(
    budget: Bitrate,
    climbs: Climbs,
    demands: &[Demand],
    chosen: &mut [Option<u8>],
) {
    let mut left = Left {
        budget: budget.as_bps(),
        slack: budget.as_bps() * SLACK / 100,
        ceiling: climbs.ceiling,
        climbs: climbs.most,
    };
    chosen.fill(None);
    for rank in ranks(demands) {
        for (demand, step) in of_rank(demands, chosen, rank) {
            if !demand.steps.as_slice().is_empty()
                && (left.allows(demand, None, 0) || demand.never_paused)
            {
                left.take(demand, step, 0);
            }
        }
    }
    for rank in ranks(demands) {
        // What is shown already comes before what may be shown better, the lowest step first.
        for climbing in [false, true] {
            while let Some((demand, step, next)) = of_rank(demands, chosen, rank)
                .filter_map(|(demand, step)| {
                    let next = step.as_ref()? + 1;
                    let exists = usize::from(next) < demand.steps.as_slice().len();
                    let is_climb = Some(next) > demand.current;
                    (exists && is_climb == climbing && left.allows(demand, *step, next))
                        .then_some((demand, step, next))
                })
                .min_by_key(|(_, _, next)| *next)
            {
                left.take(demand, step, next);
            }
        }
    }
}

/// What is not given away yet.
#[derive(Clone, Copy, Debug)]
struct Left {
    budget: u64,
    /// What staying may take beyond.
    slack: u64,
    ceiling: u64,
    climbs: usize,
}

impl Left {
    fn allows(&self, demand: &Demand, from: Option<u8>, to: u8) -> bool {
        let takes = climb(demand, from, Some(to));
        if Some(to) > demand.current {
            self.climbs > 0 && takes <= self.budget.min(self.ceiling)
        } else {
            takes <= self.budget + self.slack
        }
    }

    fn take(&mut self, demand: &Demand, step: &mut Option<u8>, to: u8) {
        let takes = demand.steps.rate(Some(to)) - demand.steps.rate(*step);
        let beyond = takes.saturating_sub(self.budget);
        self.slack = self.slack.saturating_sub(beyond);
        self.budget = self.budget.saturating_sub(takes);
        self.ceiling = self.ceiling.saturating_sub(takes);
        if Some(to) > demand.current {
            self.climbs = self.climbs.saturating_sub(1);
        }
        *step = Some(to);
    }
}

/// What must be left for going from one step to another: with head room where that is more than the track has now.
fn climb(demand: &Demand, from: Option<u8>, to: Option<u8>) -> u64 {
    let takes = demand.steps.rate(to) - demand.steps.rate(from);
    if to > demand.current {
        takes + demand.steps.rate(to) * HEAD_ROOM / 100
    } else {
        takes
    }
}

/// The ranks that occur, first served first.
fn ranks(demands: &[Demand]) -> impl Iterator<Item = Rank> + '_ {
    let mut after = None;
    std::iter::from_fn(move || {
        let later = demands.iter().map(|demand| demand.rank);
        after = later
            .filter(|rank| after.is_none_or(|after| *rank > after))
            .min();
        after
    })
}

fn of_rank<'a>(
    demands: &'a [Demand],
    chosen: &'a mut [Option<u8>],
    rank: Rank,
) -> impl Iterator<Item = (&'a Demand, &'a mut Option<u8>)> {
    let pairs = demands.iter().zip(chosen);
    pairs.filter(move |(demand, _)| demand.rank == rank)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn demand(rank: Rank, kbps: &[u64], current: Option<u8>) -> Demand {
        let mut steps = Steps::default();
        for kbps in kbps {
            steps.push(Bitrate::from_kbps(*kbps));
        }
        Demand {
            rank,
            steps,
            current,
            never_paused: rank == Rank::SIGNING,
        }
    }

    fn chosen(kbps: u64, demands: &[Demand]) -> Vec<Option<u8>> {
        let mut chosen = vec![None; demands.len()];
        allocate(Bitrate::from_kbps(kbps), Climbs::ALL, demands, &mut chosen);
        chosen
    }

    const CAMERA: [u64; 3] = [150, 500, 1_700];

    #[test]
    fn equals_grow_together_and_the_first_rank_first() {
        let other = demand(Rank::DEFAULT, &CAMERA, None);
        assert_eq!(
            chosen(1_150, &[other, other, other]),
            [Some(1), Some(0), Some(0)]
        );
        assert_eq!(
            chosen(1_700, &[other, other, other]),
            [Some(1), Some(1), Some(1)]
        );
        let pinned = demand(Rank(1), &CAMERA, None);
        assert_eq!(
            chosen(2_200, &[other, pinned, other]),
            [Some(0), Some(2), Some(0)]
        );
    }

    #[test]
    fn too_little_pauses_the_last_rank_and_never_who_signs() {
        let other = demand(Rank::DEFAULT, &CAMERA, Some(0));
        let signing = demand(Rank::SIGNING, &CAMERA, Some(0));
        assert_eq!(chosen(310, &[other, signing]), [Some(0), Some(0)]);
        assert_eq!(chosen(279, &[other, signing]), [None, Some(0)]);
        assert_eq!(chosen(40, &[other, signing]), [None, Some(0)]);
    }

    #[test]
    fn climbing_takes_head_room_and_staying_does_not() {
        let at = |current| demand(Rank::DEFAULT, &CAMERA, current);
        assert_eq!(chosen(470, &[at(Some(1))]), [Some(1)]);
        assert_eq!(chosen(460, &[at(Some(1))]), [Some(0)]);
        assert_eq!(chosen(500, &[at(Some(0))]), [Some(0)]);
        assert_eq!(chosen(541, &[at(Some(0))]), [Some(1)]);
        assert_eq!(chosen(155, &[at(None)]), [None]);
        assert_eq!(chosen(163, &[at(None)]), [Some(0)]);
    }

    #[test]
    fn climbs_are_limited_in_number_and_in_all() {
        let at = |current| demand(Rank::DEFAULT, &CAMERA, current);
        let chosen = |most, ceiling, demands: &[Demand]| {
            let mut chosen = vec![None; demands.len()];
            let climbs = Climbs { most, ceiling };
            allocate(Bitrate::from_kbps(5_000), climbs, demands, &mut chosen);
            chosen
        };
        let tracks = [at(Some(1)), at(Some(0)), at(None)];
        assert_eq!(chosen(0, u64::MAX, &tracks), [Some(1), Some(0), None]);
        assert_eq!(chosen(1, u64::MAX, &tracks), [Some(1), Some(0), Some(0)]);
        assert_eq!(chosen(2, u64::MAX, &tracks), [Some(1), Some(1), Some(0)]);
        assert_eq!(chosen(9, 900_000, &tracks), [Some(1), Some(0), Some(0)]);
    }

    #[test]
    fn what_is_shown_is_kept_before_others_climb() {
        let at = |current| demand(Rank::DEFAULT, &CAMERA, current);
        assert_eq!(chosen(850, &[at(Some(0)), at(Some(1))]), [Some(0), Some(1)]);
        assert_eq!(
            chosen(1_050, &[at(Some(0)), at(Some(1))]),
            [Some(1), Some(1)]
        );
    }

    #[test]
    fn a_step_that_seems_cheaper_than_the_one_below_counts_as_that() {
        let odd = demand(Rank::DEFAULT, &[300, 200, 400], Some(2));
        assert_eq!(chosen(350, &[odd]), [Some(1)]);
        assert_eq!(chosen(0, &[demand(Rank::DEFAULT, &[], None)]), [None]);
    }

    proptest! {
        #[test]
        fn the_budget_is_kept_and_nothing_that_fits_is_left_undone(
            budget in 0_u64..10_000,
            tracks in proptest::collection::vec(
                (1_u8..4, proptest::collection::vec(1_u64..2_000, 1..MAX_STEPS)),
                1..12,
            ),
        ) {
            let demands: Vec<_> = tracks
                .iter()
                .map(|(rank, kbps)| demand(Rank(*rank), kbps, None))
                .collect();
            let chosen = chosen(budget, &demands);
            let each = || demands.iter().zip(&chosen);
            let total: u64 = each().map(|(d, step)| d.steps.rate(*step)).sum();
            prop_assert!(total <= budget * 1_000);
            let left = budget * 1_000 - total;
            for (demand, step) in each() {
                let next = step.map_or(0, |step| step + 1);
                if usize::from(next) < demand.steps.as_slice().len() {
                    prop_assert!(climb(demand, *step, Some(next)) > left);
                }
            }
        }
    }
}
