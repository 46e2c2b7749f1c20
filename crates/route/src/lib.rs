//! Where a request goes: [`plan`] turns what is known of it ([`Features`]), what the owner wants ([`Policy`]) and how
//! the tiers do at present ([`TierState`]) into an ordered list of tiers, with a [`Decision`] for each that was
//! considered.
//!
//! Everything here is a value or a function of values. Time is a [`Duration`](std::time::Duration) since any fixed
//! moment, and chance a number; both are passed in. So a plan can be made again from its trace, and tests need neither
//! clocks nor sockets.
//!
//! The rule that nothing else can outweigh: what is not cleared gets local tiers only. It is a rule of plans; what
//! holds it whatever a plan says is a type of the guard's.
//!
//! Deliberately absent: sending, waiting, texts. Whoever asks has measured and classified them.
#![forbid(unsafe_code)]

mod afford;
mod plan;
mod policy;

mod breaker;
mod cascade;
mod learned;
mod money;
mod retry;

pub use afford::USUAL_OUTPUT;
pub use breaker::{Admission, Breaker, BreakerConfig, Ticket};
pub use cascade::{Cascade, Compared, Statistic, Threshold, Verdict, Weighed};
pub use learned::{Agreement, Because, Calibration, Labelled, Learned, Learning, MOST_LABELS};
pub use money::{Micros, Price, Tokens};
pub use plan::{Accepts, Considered, Decision, Features, Plan, Privacy, Skipped, Step, TierState, plan};
pub use policy::{Language, LastResort, Need, Needs, Place, Policy, Prefer, Quality, Scope, Task, Tier};
pub use retry::{RetryBudget, full_jitter};
