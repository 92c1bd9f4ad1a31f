//! The ways to choose among free placements.
//!
//! Must never reach the legality of a placement: policies rank, they do not admit.

/// How free placements are ranked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// Scarcity-weighted capacity loss: what costs the fleet least of what it is short of.
    #[default]
    Scar,
    /// The first GPU with room, its lowest start. What kube-scheduler's DRA allocator does; kept
    /// for comparison.
    FirstFit,
    /// The fullest GPU with room, there the start that leaves most placements. What a careful
    /// allocator without a forecast does; kept for comparison.
    BestFit,
}
